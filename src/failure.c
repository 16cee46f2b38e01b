/* failure.c: how a transfer ended comes in; how it failed, in the words of lmm's errors, goes out. */
#include <curl/curl.h>
#include <string.h>

#include "transport.h"

/* What a result means; NULL: it depends on whether anything came back before. */
static const struct {
  CURLcode result;
  const char *kind;
  const char *phase; /* NULL: as far as the transfer had come */
  bool permanent;
} kinds[] = {{CURLE_COULDNT_RESOLVE_HOST, "connect", "dns", false},
             {CURLE_COULDNT_RESOLVE_PROXY, "connect", "dns", false},
             {CURLE_COULDNT_CONNECT, "connect", NULL, false},
             {CURLE_PROXY, "connect", "connect", false},
             {CURLE_SSL_CONNECT_ERROR, "connect", "tls", false},
             {CURLE_SSL_CERTPROBLEM, "connect", "tls", true},
             {CURLE_SSL_CIPHER, "connect", "tls", true},
             {CURLE_PEER_FAILED_VERIFICATION, "connect", "tls", true},
             {CURLE_SSL_CACERT_BADFILE, "connect", "tls", true},
             {CURLE_URL_MALFORMAT, "invalid", NULL, true},
             {CURLE_OPERATION_TIMEDOUT, "timeout", NULL, false},
             {CURLE_PARTIAL_FILE, "truncated", NULL, false},
             {CURLE_SEND_ERROR, NULL, NULL, false},
             {CURLE_RECV_ERROR, NULL, NULL, false},
             {CURLE_GOT_NOTHING, NULL, NULL, false}};

/* Whether TLS ended for a reason that stays, by the words of OpenSSL and GnuTLS: the server refused what it was
 * offered, or it speaks no TLS at all. */
static bool is_tls_refusal(const char *reason) {
  if (strstr(reason, " alert ") != NULL) return strstr(reason, "internal error") == NULL;
  return strstr(reason, "wrong version number") != NULL || strstr(reason, "unexpected TLS packet") != NULL;
}

/* Whether a proxy has refused to open a tunnel for a reason that stays. */
static bool is_proxy_refusal(const lmm_transfer *transfer) {
  long status = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &status);
  return status >= 400 && status < 500 && status != 408 && status != 429;
}

static lmm_failure classify(const lmm_transfer *transfer, const char *phase) {
  CURLcode result = (CURLcode)transfer->result;
  const char *reason = transfer->reason[0] != '\0' ? transfer->reason : curl_easy_strerror(result);
  if (result == CURLE_COULDNT_CONNECT && transfer->socket_errno != 0)
    return (lmm_failure){"connect", "connect", strerror(transfer->socket_errno), false};
  if (result == CURLE_OUT_OF_MEMORY) return (lmm_failure){NULL, phase, reason, false};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (kinds[i].result != result) continue;
    const char *kind = kinds[i].kind != NULL ? kinds[i].kind : transfer->responded ? "truncated" : "connect";
    if (strcmp(kind, "connect") == 0 && transfer->in_handshake && is_tls_refusal(reason))
      return (lmm_failure){kind, "tls", reason, true}; /* with TLS 1.3 the client learns of it only as it reads */
    if (strcmp(kind, "connect") == 0 && is_proxy_refusal(transfer)) return (lmm_failure){kind, phase, reason, true};
    return (lmm_failure){kind, kinds[i].phase != NULL ? kinds[i].phase : phase, reason, kinds[i].permanent};
  }
  if (result == CURLE_UNSUPPORTED_PROTOCOL && transfer->connected) reason = "it does not speak HTTP";
  return (lmm_failure){"protocol", phase, reason, false};
}

bool lmm_failure_of(const lmm_transfer *transfer, lmm_failure *failure) {
  const lmm_error *own = &transfer->error;
  const char *phase = lmm_transfer_phase(transfer);
  if (own->code != LMM_OK) {
    const char *kind = own->code == LMM_NOMEM ? NULL : own->code == LMM_LIMIT ? "limit" : "invalid";
    *failure = (lmm_failure){kind, phase, own->message, false};
    return true;
  }
  if (!transfer->done || lmm_quirks_is_success(transfer)) return false;
  if (lmm_quirks_failure(transfer, failure)) return true;
  if (transfer->result == CURLE_OK) return false;
  *failure = classify(transfer, phase);
  return true;
}
