--- The methods of a client that few programs call: its class comes in, and has them. The file of each, which describes
--- it, is loaded with its first call.
local errors = require "lmm.errors"

---@class lmm.Client
---@field request fun(self, method: string, path: string, body: any, opts: table?): table?, string?, lmm.Error?
---@field events fun(self, method: string, path: string, body: any, opts: table?): lmm.Events, nil, nil, lmm.Events
---@field embed fun(self, given, opts: table?): lmm.Embeddings?, string?, lmm.Error?
---@field tokenize fun(self, given: string|table[], opts: table?): lmm.Tokens?, string?, lmm.Error?
---@field detokenize fun(self, list: integer[], opts: table?): string?, string?, lmm.Error?
---@field transcribe fun(self, source: string|lmm.Part, opts: table?): lmm.Transcription?, string?, lmm.Error?
---@field translate fun(self, source: string|lmm.Part, opts: table?): lmm.Transcription?, string?, lmm.Error?
---@field complete fun(self, prompt: string|table, opts: table?): lmm.Reply?, string?, lmm.Error?
---@field stream_completion fun(self, prompt: string|table, opts: table?): lmm.Stream, nil, nil, lmm.Stream
---@field score fun(self, first, second, opts: table?): lmm.Scores?, string?, lmm.Error?
---@field rerank fun(self, query, documents: table, opts: table?): lmm.Ranking?, string?, lmm.Error?

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
