--- Waiting for a server that is still starting: a client comes in; when its server answers, the wait is over.
local calls = require "lmm.call"
local errors = require "lmm.errors"
local models = require "lmm.client.models"
local options = require "lmm.options"

local ready = {}

local rows = { timeout = "number", on_wait = "function", headers = "table" }
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

--- Waits until the server answers. See Client:wait_ready.
---@return true? ready, lmm.Error? err
function ready.wait(client, opts)
  opts = options.check("client:wait_ready", rows, opts)
  options.check_seconds("client:wait_ready: timeout", opts.timeout)
  local loop, timeout = client.loop, opts.timeout or TIMEOUT
  local started, cell = loop:now(), {}
  while true do
    local err = probe(client, started + timeout, opts.headers)
    if not err then return true end
    local stop = not is_transient(err) and err or opts.on_wait and opts.on_wait(loop:now() - started, err)
    if errors.is(stop) then return nil, stop end
    if loop:now() - started >= timeout then
      return nil, errors.new { kind = "timeout", limit = "ready", elapsed = loop:now() - started, last = err,
        message = ("no server was ready at %s within %g s: %s"):format(client.base_url, timeout, err.message) }
    end
    local _, why = loop:wait(cell, loop:now() + INTERVAL)
    if why == "cancelled" then
      return nil, errors.new { kind = "cancelled", message = "the wait was cancelled" }
    end
  end
end

return ready
