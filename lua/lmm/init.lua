--- lmm: talk to multimodal models on OpenAI-compatible servers. This file is the public face.
--
--     local lmm = require "lmm"
--     local chat = lmm.connect("http://127.0.0.1:8000/v1"):conversation()
--     print(assert(chat:ask("What is shown in the image?", lmm.image "picture.jpg")))
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local parts = require "lmm.part"

local lmm = {}

--- Stands for a JSON null in a request, and in a reply's `raw`.
lmm.null = json.null

--- Marks a table as an array, so that it is sent as `[]` when it is empty.
lmm.array = json.array

--- Names the loop to wait in, before the first call.
lmm.use = loops.use

--- Makes a client; no I/O yet. See lmm.Client.
---@param opts string|table|nil  a base URL, or a table of options, or nothing: the environment
---@return lmm.Client
function lmm.connect(opts)
  return require("lmm.client").new(opts)
end

--- Makes an image part of a path, a URL or `{ bytes = ... }`.
---@param source string|table
---@param opts table?  `mime`, `detail`, `uuid`, ...
---@return lmm.Part  always; where it cannot be sent its `err` says why, and `ask` gives that error
function lmm.image(source, opts)
  return parts.new("image", source, opts)
end

--- Makes a retry policy, to be given as `retry` to a client or a call.
---@param opts table|function|nil
function lmm.retry(opts)
  return require("lmm.retry").new(opts)
end

--- Runs `fn` as a task, begun at once up to its first wait. `done(ok, ...)` gets what `pcall` would give.
---@return lmm.Task
function lmm.go(fn, done)
  if type(fn) ~= "function" then errors.misuse("lmm.go: a function expected, got %s", type(fn)) end
  if done ~= nil and type(done) ~= "function" then errors.misuse("lmm.go: done is a %s", type(done)) end
  return loops.current():spawn(fn, done)
end

--- Runs functions as tasks, some at a time, and waits for all.
---@param fns (fun(): any)[]
---@param opts { limit: integer? }?
---@return any[] results, table errors
function lmm.gather(fns, opts)
  return require("lmm.gather")(fns, opts)
end

--- Starts the built-in server that needs no model, as a child process.
---@return lmm.MockServer
function lmm.mock(opts)
  return require("lmm.mock").start(opts)
end

return lmm
