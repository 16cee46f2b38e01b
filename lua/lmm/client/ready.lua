--- Waiting for a server that is still starting: a client comes in; when its server answers, the wait is over.
local calls = require "lmm.call"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local models = require "lmm.client.models"
local options = require "lmm.options"

local ready = {}

local rows = { timeout = "number", any = "boolean", on_wait = "function", headers = "table" }
local TIMEOUT, INTERVAL, PROBE_TIMEOUT, PROBE_CONNECT = 600, 0.25, 10, 5 -- seconds

--- Why the server is not ready, or nil. A server without /health tells by its list of models.
local function probe(client, deadline, headers)
  local opts = calls.options(client, { retry = false, headers = headers })
  opts.timeout = { connect = PROBE_CONNECT, total = math.max(0.1, math.min(PROBE_TIMEOUT, deadline - opts.started)) }
  local reply, err = client:fetch("GET", client:url "/health", nil, opts)
  if not reply and err.status ~= 404 and err.status ~= 405 then return err end
  opts.started = client.loop:now()
  local list
  list, err = models.list(client, opts)
  local is_listless = reply and err and models.has_no_list(err)
  return not list and not is_listless and err or nil
end

--- Whether a server that is still starting may answer so.
local function is_transient(err)
  return err.kind == "connect" and not err.permanent or err.kind == "timeout"
    or err.kind == "http" and err.status >= 500
end

--- The clients of the servers that are waited for; they are probed at once, where there are several.
local function clients_of(client)
  local clients = {}
  for i, server in ipairs(client.pool and client.pool.servers or {}) do clients[i] = server.client end
  return client.pool and clients or { client }
end

--- Why they are not ready, by the clients' places; nil where the wait was cancelled.
local function probe_each(clients, deadline, headers)
  if #clients == 1 then return { probe(clients[1], deadline, headers) } end
  local probes = {}
  for i, client in ipairs(clients) do
    probes[i] = function() return nil, probe(client, deadline, headers) end
  end
  local results, failures = loops.gather(probes, { limit = #probes })
  return results and failures
end

--- Probes those that are not ready yet: the error of one, which is to be waited out unless it will not pass.
---@param clients lmm.Client[]  those that are not ready; others are taken out
---@param any boolean?  one will do
---@return lmm.Error? err, boolean? is_final
local function look(clients, any, deadline, headers)
  local failures = probe_each(clients, deadline, headers)
  if not failures then return errors.new { kind = "cancelled", message = "the wait was cancelled" }, true end
  local waiting, final
  for i = #clients, 1, -1 do
    local err = failures[i]
    if not err and any then return nil end
    if not err then table.remove(clients, i) end
    if err and is_transient(err) then waiting = err else final = err or final end
  end
  if any and waiting then return waiting, false end -- another may still come
  return final or waiting, final ~= nil
end

--- Waits until the server answers. See Client:wait_ready.
---@return true? ready, lmm.Error? err
function ready.wait(client, opts)
  opts = options.check("client:wait_ready", rows, opts)
  options.check_seconds("client:wait_ready: timeout", opts.timeout)
  local loop, timeout, clients = client.loop, opts.timeout or TIMEOUT, clients_of(client)
  local started, cell = loop:now(), {}
  while true do
    local err, is_final = look(clients, opts.any, started + timeout, opts.headers)
    if not err then return true end
    local stop = is_final and err or opts.on_wait and opts.on_wait(loop:now() - started, err)
    if errors.is(stop) then return nil, stop end
    if loop:now() - started >= timeout then
      return nil, errors.new { kind = "timeout", limit = "ready", elapsed = loop:now() - started, last = err,
        message = ("no server was ready at %s within %g s: %s"):format(
          #clients == 1 and clients[1].base_url or client.base_url, timeout, err.message) }
    end
    local _, why = loop:wait(cell, loop:now() + INTERVAL)
    if why == "cancelled" then
      return nil, errors.new { kind = "cancelled", message = "the wait was cancelled" }
    end
  end
end

return ready
