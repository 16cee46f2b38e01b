rockspec_format = "3.0"
package = "lmm"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Talk to multimodal models on OpenAI-compatible servers",
  detailed = [[
    A client for vision, video and audio language models on vLLM and other OpenAI-compatible servers. C modules encode
    and move the bytes; a thin Lua layer adds conversations, streams, tasks and retry.]],
  license = "MIT",
}
dependencies = { "lua >= 5.1, < 5.5", "lua-cjson >= 2.1.0", "luv", "luaossl", "argparse" }
external_dependencies = { CURL = { library = "curl" }, B64 = { library = "b64" } }
build = {
  type = "builtin",
  modules = {
    ["lmm.core"] = {
      sources = { "src/error.c", "src/buf.c", "src/sniff.c", "src/media.c", "src/base64.c",
        "src/body.c", "src/utf8.c", "src/sse.c", "src/core.c" },
      defines = { "_GNU_SOURCE" },
      libraries = { "b64" },
      incdirs = { "$(B64_INCDIR)" },
      libdirs = { "$(B64_LIBDIR)" },
    },
    ["lmm.curl"] = {
      sources = { "src/error.c", "src/buf.c", "src/transfer.c", "src/multi.c", "src/curl.c" },
      defines = { "_GNU_SOURCE" },
      libraries = { "curl" },
      incdirs = { "$(CURL_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)" },
    },
    ["lmm"] = "lua/lmm/init.lua",
    ["lmm.call"] = "lua/lmm/call.lua",
    ["lmm.child"] = "lua/lmm/child.lua",
    ["lmm.cli"] = "lua/lmm/cli/init.lua",
    ["lmm.cli.ask"] = "lua/lmm/cli/ask.lua",
    ["lmm.cli.console"] = "lua/lmm/cli/console.lua",
    ["lmm.cli.field"] = "lua/lmm/cli/field.lua",
    ["lmm.cli.mock"] = "lua/lmm/cli/mock.lua",
    ["lmm.cli.models"] = "lua/lmm/cli/models.lua",
    ["lmm.cli.progress"] = "lua/lmm/cli/progress.lua",
    ["lmm.cli.record"] = "lua/lmm/cli/record.lua",
    ["lmm.cli.serve"] = "lua/lmm/cli/serve.lua",
    ["lmm.cli.wait"] = "lua/lmm/cli/wait.lua",
    ["lmm.client"] = "lua/lmm/client.lua",
    ["lmm.conversation"] = "lua/lmm/conversation.lua",
    ["lmm.dialect"] = "lua/lmm/dialect.lua",
    ["lmm.errors"] = "lua/lmm/errors.lua",
    ["lmm.gather"] = "lua/lmm/gather.lua",
    ["lmm.guard"] = "lua/lmm/guard.lua",
    ["lmm.head"] = "lua/lmm/head.lua",
    ["lmm.json"] = "lua/lmm/json.lua",
    ["lmm.log_tail"] = "lua/lmm/log_tail.lua",
    ["lmm.loop"] = "lua/lmm/loop/init.lua",
    ["lmm.loop.blocking"] = "lua/lmm/loop/blocking.lua",
    ["lmm.mock"] = "lua/lmm/mock.lua",
    ["lmm.mock.chat"] = "lua/lmm/mock/chat.lua",
    ["lmm.mock.http"] = "lua/lmm/mock/http.lua",
    ["lmm.mock.parts"] = "lua/lmm/mock/parts.lua",
    ["lmm.mock.play"] = "lua/lmm/mock/play.lua",
    ["lmm.mock.refusal"] = "lua/lmm/mock/refusal.lua",
    ["lmm.mock.server"] = "lua/lmm/mock/server.lua",
    ["lmm.mock.start"] = "lua/lmm/mock/start.lua",
    ["lmm.mock.wire"] = "lua/lmm/mock/wire.lua",
    ["lmm.options"] = "lua/lmm/options.lua",
    ["lmm.part"] = "lua/lmm/part.lua",
    ["lmm.redact"] = "lua/lmm/redact.lua",
    ["lmm.reply"] = "lua/lmm/reply.lua",
    ["lmm.request"] = "lua/lmm/request.lua",
    ["lmm.retry"] = "lua/lmm/retry.lua",
    ["lmm.serve"] = "lua/lmm/serve.lua",
    ["lmm.server_error"] = "lua/lmm/server_error.lua",
    ["lmm.settings"] = "lua/lmm/settings.lua",
    ["lmm.stream"] = "lua/lmm/stream.lua",
    ["lmm.text"] = "lua/lmm/text.lua",
    ["lmm.transport.curl"] = "lua/lmm/transport/curl.lua",
  },
  install = { bin = { lmm = "bin/lmm" } },
}
