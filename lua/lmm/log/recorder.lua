--- What has the calls of a client logged: a call that begins comes in, and how it ends; an exchange goes into the log.
--- A log that cannot be written never fails a call: it is told once in a process.
---
--- Where `cache` is asked for, a request that was answered before, at temperature 0 or with a seed, is answered from
--- the log.
local errors = require "lmm.errors"
local json = require "lmm.json"

---@class lmm.log.Recorder
---@field path string
---@field opts { media: boolean?, wait: number }  of log.open
---@field loop lmm.Loop
---@field caches boolean?
---@field log lmm.Log|false|nil  once it was opened, or could not be
---@field pending lmm.Exchange[]  that could not be written yet
local Recorder = {}
Recorder.__index = Recorder

---@class lmm.log.Entry  one call
---@field cost number?  where it is another one than the reply's
local Entry = {}
Entry.__index = Entry

local recorder = {}

--- Seconds to wait for another process that writes. Where other things go on in the thread they must not stand still
--- for long; what is not written then is written with the next exchange. Nor does anybody wait long twice.
local LONG_WAIT, SHORT_WAIT = 5, 0.05

local MOST_PENDING = 1000 -- exchanges

local is_warned = false

local function warn(self, err)
  if is_warned then return end
  is_warned = true
  self.loop:report("lmm: " .. tostring(err) .. " (the answers are not affected; this is said once)")
end

--- Makes a recorder; the log is opened with the first exchange.
---@param opts { path: string, media: boolean?, cache: boolean? }
---@param loop lmm.Loop
---@param open function  log.open
---@return lmm.log.Recorder
function recorder.new(opts, loop, open)
  local wait = loop.name == "blocking" and LONG_WAIT or SHORT_WAIT
  return setmetatable({ path = opts.path, opts = { media = opts.media, wait = wait }, loop = loop,
    caches = opts.cache, open_log = open, pending = {} }, Recorder)
end

function Recorder:close_log()
  if not self.log then return end
  self.log:close()
  self.log = nil
end

--- Says what has failed. Where another process keeps the log locked it is opened anew the next time.
---@return boolean is_locked
local function failed(self, err)
  warn(self, err)
  if err.code ~= "locked" then return false end
  self:close_log()
  self.opts.wait = SHORT_WAIT
  return true
end

--- The log; nil where it is locked, false where it cannot be opened.
function Recorder:open()
  if self.log == nil then
    local log, err = self.open_log(self.path, self.opts)
    if log or not failed(self, err) then self.log = log or false end
  end
  return self.log
end

--- Begins the record of a call.
---@param kind string     the endpoint
---@param fields table    which later calls of the caller's do not change: a copy, or what nobody else holds
---@param own table?      options of lmm's that go with them
---@return lmm.log.Entry
function Recorder:begin(kind, fields, own)
  return setmetatable({ recorder = self, kind = kind, request = fields, own = own, is_done = false }, Entry)
end

--- Writes what could not be written before, and this. What is raised, as by Ctrl-C, goes on to the caller.
---@param exchange lmm.Exchange?
function Recorder:write(exchange)
  local pending, log = self.pending, self:open()
  pending[#pending + 1] = log ~= false and exchange or nil
  while log and pending[1] do
    local first = table.remove(pending, 1)
    local id, err = log:add(first)
    if not id and failed(self, err) then
      table.insert(pending, 1, first)
      break
    end
  end
  if #pending > MOST_PENDING then table.remove(pending, 1) end
end

--- The end of the client. Whose call ends after that opens the log again.
function Recorder:close()
  if self.pending[1] then self:write() end
  self:close_log()
end

-- ---- one call

local function write(self, exchange)
  self.is_done = true
  exchange.kind, exchange.request, exchange.options = self.kind, self.request, self.own
  exchange.time = os.time() - math.floor(exchange.total or 0)
  self.recorder:write(exchange)
end

--- The call has ended.
---@param call lmm.Call
---@param err lmm.Error?
---@param reply table?
function Entry:finish(call, err, reply)
  if self.is_done or call.attempts == 0 then return end -- nothing was sent
  write(self, { server = call.client.base_url, model = call.model, reply = reply, err = err, cost = self.cost,
    first_token = call.first, total = call.loop:now() - call.started, cached = call.canned ~= nil or nil })
end

--- There was no call, since the server did not say what models it has.
---@param client lmm.Client
---@param err lmm.Error
function Entry:fail(client, err)
  write(self, { server = client.base_url, err = err, total = err.elapsed })
end

--- Whether the same request has the same answer each time, as far as servers promise that.
local function is_repeatable(fields)
  local seed, n = fields.seed, fields.n
  return (fields.temperature == 0 or seed ~= nil and seed ~= json.null) and (n == nil or n == 1)
end

--- The body of the answer to the same request that is in the log.
---@param servers string[]
---@return string?
local function find_body(self, log, servers, model)
  local answers, media = require "lmm.log.answer", require "lmm.log.media"
  local requests = require "lmm.log.request"
  local asked = requests.read(self.request, { kind = self.kind, model = model, options = self.own, is_strict = true,
    known = media.known_by(log) })
  for _, server in ipairs(servers) do
    local exchange, err = log:find(requests.key(asked, server))
    if err then error(err, 0) end
    local body = exchange and exchange.finish_reason and answers.body(exchange.reply, exchange.model)
    if body then return body end
  end
end

--- The body of a reply as a transfer.
local Canned = {}
Canned.__index = Canned

function Canned:head()
  self.is_read = false
  return { status = 200, headers = { ["content-type"] = "application/json" } }
end

function Canned:read()
  if self.is_read then return nil end
  self.is_read = true
  return self.body
end

function Canned.close() end

--- Has a call answered from the log, where that has an answer and `cache` is on.
---@param call lmm.Call
---@param model string?
---@return boolean is_answered
function Entry:answer(call, model)
  local own = self.recorder
  if not own.caches or not is_repeatable(self.request) then return false end
  local log = own:open()
  if not log then return false end
  local servers = {}
  for i, server in ipairs(call.pool and call.pool.servers or {}) do servers[i] = server.client.base_url end
  servers[1] = servers[1] or call.client.base_url
  local ok, body = pcall(find_body, self, log, servers, model)
  if not ok then
    if not errors.is(body) then error(body, 0) end
    warn(own, body)
  end
  if not (ok and body) then return false end
  call.canned = setmetatable({ body = body, is_read = false }, Canned)
  call.model, call.pool, call.parts = model, false, nil
  return true
end

return recorder
