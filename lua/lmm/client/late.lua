--- The methods of a client that few programs call: its class comes in, and has them. The file of each, which describes
--- it, is loaded with its first call.
-- luacheck: no max comment line length
local errors = require "lmm.errors"

-- Their signatures once more, for editors, which do not see through what follows.
---@class lmm.Client
---@field request fun(self, method: string, path: string, body: table|string|lmm.Form|nil, opts: lmm.CallOptions?): lmm.Response?, string?, lmm.Error?
---@field events fun(self, method: string, path: string, body: table|string|lmm.Form|nil, opts: lmm.CallOptions?): lmm.Events, nil, nil, lmm.Events
---@field embed fun(self, given: lmm.Input, opts: lmm.EmbedOptions?): lmm.Embeddings?, string?, lmm.Error?
---@field tokenize fun(self, given: string|table[], opts: lmm.TokenizeOptions?): lmm.Tokens?, string?, lmm.Error?
---@field detokenize fun(self, list: integer[], opts: lmm.EndpointOptions?): string?, string?, lmm.Error?
---@field transcribe fun(self, source: lmm.Input, opts: lmm.TranscribeOptions?): lmm.Transcription?, string?, lmm.Error?
---@field translate fun(self, source: lmm.Input, opts: lmm.TranscribeOptions?): lmm.Transcription?, string?, lmm.Error?
---@field complete fun(self, prompt: lmm.Prompt, opts: lmm.CompletionOptions?): lmm.Reply?, string?, lmm.Error?
---@field stream_completion fun(self, prompt: lmm.Prompt, opts: lmm.CompletionOptions?): lmm.Stream, nil, nil, lmm.Stream
---@field score fun(self, first: lmm.Input, second: lmm.Input, opts: lmm.EndpointOptions?): lmm.Scores?, string?, lmm.Error?
---@field rerank fun(self, query: lmm.Input, documents: lmm.Input[], opts: lmm.RerankOptions?): lmm.Ranking?, string?, lmm.Error?

local FILES = {
  embeddings = { "embed" },
  tokens = { "tokenize", "detokenize" },
  audio = { "transcribe", "translate" },
  completions = { "complete", "stream_completion" },
  ranking = { "score", "rerank" },
  requests = { "request", "events" },
}

---@param Client table
return function(Client)
  for file, methods in pairs(FILES) do
    for _, method in ipairs(methods) do
      Client[method] = function(self, ...)
        return require("lmm.client." .. file)[method](self, ...)
      end
      errors.check_self(Client, "client", method)
    end
  end
end
