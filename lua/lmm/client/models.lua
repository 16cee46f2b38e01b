--- The models of a server: its list, the one to ask, and what to say to somebody who asked for one that is not there.
local answers = require "lmm.answer"
local calls = require "lmm.call"
local loops = require "lmm.loop"
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"

local models = {}

--- The list in a reply, which some servers send bare, or as a null where it is empty; nil where there is none.
local function list_in(value)
  if type(value.data) == "table" then return value.data end
  if value[1] ~= nil or json.is_empty_array(value) then return value end
  return value.object == "list" and value.data == nil and {} or nil
end

--- The tables in a list that name a model.
local function named(list)
  local found = {}
  for _, model in json.items(list) do
    if type(model.id) == "string" then found[#found + 1] = model end
  end
  return found
end

--- The models that the server lists; it may have none.
---@param client lmm.Client
---@param opts lmm.CallSettings
---@param run nil|fun(call: lmm.Call, attempt: function)  see Client:fetch
---@return table[]? list, lmm.Error? err
function models.list(client, opts, run)
  local value, err, call = client:fetch_json("GET", client:url "models", nil, opts, run)
  if not value then return nil, err end
  local given = list_in(value)
  local found = named(given)
  if given then call.client:note_models(found, call.headers) end -- that of one server
  if #found > 0 or given and next(given) == nil then return found end
  local failure = answers.find_error(value)
  local what = failure and failure.message or given and "it names no model" or "there is no 'data'"
  return nil, call:fail { kind = "protocol", phase = "receive", reason = "no list of models: " .. what }
end

--- The models of several lists, each once.
---@param lists table[][]?
---@param err lmm.Error?  where there is no list
---@return table[]? list, lmm.Error? err
function models.union(lists, err)
  if not lists then return nil, err end
  local all, seen = {}, {}
  for _, list in ipairs(lists) do
    for _, model in ipairs(list) do
      if not seen[model.id] then all[#all + 1], seen[model.id] = model, true end
    end
  end
  return all
end

local OWNER_INTERVAL = 1 -- seconds between looks at whether the task that asks for the list is still there

--- Waits, by a call that sends nothing, until another task of this client has the list.
local function wait_for_list(client, opts, run)
  local listing = client.listing
  local call = calls.new(client, "GET", client:url "models", nil, opts)
  listing.waiting[#listing.waiting + 1] = call.cell
  local _, err = run(call, function()
    local why
    repeat
      local now = client.loop:now()
      local woken
      woken, why = client.loop:wait(call.cell, math.min(call.deadline or math.huge, now + OWNER_INTERVAL))
      if woken and not call.cancelled then return true end
      -- On PUC 5.1 a raise ends a task before it can tell those who wait for it.
      if listing.owner and coroutine.status(listing.owner) == "dead" then
        if client.listing == listing then client.listing = nil end
        return true
      end
    until why ~= "timeout" or call.deadline and client.loop:now() >= call.deadline
    return nil, call:fail { kind = why == "timeout" and "timeout" or "cancelled", limit = "total", phase = "wait" }
  end)
  return listing, err
end

--- Whether the list failed for all who ask for it like this: with the same headers, which may hold a key, and by an
--- error that another time limit or retry policy would not change.
local function has_failed(listing, opts)
  local err = listing.err
  return err and listing.headers == opts.headers and not err.retryable and err.kind ~= "timeout"
    and err.kind ~= "cancelled"
end

--- Whether a server has no list of models.
local function has_no_list(err)
  return err.status == 404 or err.status == 405
end

models.has_no_list = has_no_list

--- The error where nobody names the model, neither the caller nor the server; nil where the list failed otherwise.
local function nameless(client, err)
  if err and (not has_no_list(err) or err.hint) then return nil end
  local what = err and ("has no list of them (HTTP %d)"):format(err.status) or "lists none"
  return errors.new { kind = err and err.kind or "invalid", status = err and err.status, hint = "name the model",
    message = ("no model is named, and %s %s"):format(client.base_url, what) }
end

--- The server's list; tasks that want it at the same time ask for it once.
---@return table[]? list, lmm.Error? err
local function share(client, opts, run)
  if client.listing then
    local listing, err = wait_for_list(client, opts, run)
    if err then return nil, err end
    if has_failed(listing, opts) then return nil, errors.copy(listing.err) end -- a raise is its own task's
    if listing.list then return listing.list end
    return share(client, opts, run)
  end
  local listing = { waiting = {}, owner = coroutine.running(), headers = opts.headers }
  client.listing = listing
  local ok, list, err = loops.pcall(models.list, client, opts, run)
  if client.listing == listing then client.listing = nil end
  listing.list, listing.err = ok and list or nil, err
  for _, cell in ipairs(listing.waiting) do client.loop:wake(cell) end
  if not ok then error(list, 0) end
  return list, err
end

--- The model to ask of a client that has none of its own: the first that the server lists, which is remembered.
---@param client lmm.Client
---@param opts lmm.CallSettings
---@param run fun(call: lmm.Call, attempt: function)
---@return string? name, lmm.Error? err
function models.find(client, opts, run)
  if client.listed_model then return client.listed_model end
  local list, err = share(client, opts, run)
  if not list or not list[1] then return nil, nameless(client, err) or err end
  client.listed_model = client.listed_model or list[1].id
  return client.listed_model
end

--- The same for a client that may have a model of its own, or several servers: then it is the first that one of them
--- lists.
---@param client lmm.Client
---@return string? name, lmm.Error? err
function models.default(client)
  local name = client.given_model or client.common_model
  if name then return name end
  if not client.pool then
    return models.find(client, calls.options(client, {}), function(call, attempt) return call:run(attempt) end)
  end
  local list, err = models.union(client.pool:ask_each(function(one, opts) -- all wait for the slowest
    return models.list(one, models.probe_options(one, opts.timeout))
  end))
  if not list and err.kind == "timeout" then list, err = models.union(client.pool:ask_each(models.list)) end
  if not list or not list[1] then return nil, nameless(client, err) or err end
  client.common_model = client.common_model or list[1].id -- requests that name none still ask each server's own
  return client.common_model
end

local PROBE_TIMEOUT = 5   -- seconds
local PROBE_INTERVAL = 60 -- seconds, after which a server that took longer is asked again

--- The options of a look at a server's list on the way to something else: it is asked once, and not for long.
---@param client lmm.Client
---@param timeout table  of the call that it is for
---@param headers table<string, string>?  unless the client's own will do
---@return lmm.CallSettings
function models.probe_options(client, timeout, headers)
  local opts = calls.options(client, { retry = false })
  opts.headers = headers or opts.headers
  opts.timeout = { connect = timeout.connect, total = math.min(PROBE_TIMEOUT, timeout.total or math.huge) }
  return opts
end

--- Asks the server for its models, once. One that has no list is noted so; one that is not ready to give it may be so
--- later.
---@param client lmm.Client
---@param opts lmm.CallSettings
---@param run fun(call: lmm.Call, attempt: function)
---@return lmm.Error? err
function models.learn(client, opts, run)
  local _, err = share(client, opts, run)
  if err and err.kind == "timeout" then client.next_probe = client.loop:now() + PROBE_INTERVAL end
  local has_none = err and not err.retryable and (err.kind == "http" or err.kind == "protocol")
  if has_none then client:note_models({}, {}) end
  return err
end

--- Has a server say what it is, where that is not known.
---@param client lmm.Client
---@param ours table  the options of the call that it is for
function models.learn_dialect(client, ours)
  if client.pool or client:known_dialect() then return end
  if client.next_probe and client.loop:now() < client.next_probe then return end
  local opts = calls.options(client, ours)
  models.learn(client, models.probe_options(client, opts.timeout, opts.headers), function(call, attempt)
    return call:run(attempt)
  end) -- a server that does not tell is taken as any other
end

local MOST_NAMES, LONGEST_NAME, LISTED = 500, 128, 5 -- so many are looked at; bytes; so many are told

--- A hint for somebody who asked for a model that is not served, where the server's list says more.
local function hint_for(name, list)
  local by_name, listed = {}, {}
  for i = 1, math.min(#list, MOST_NAMES) do
    local id = list[i].id
    if id == name then return nil end
    if #id <= LONGEST_NAME then
      by_name[id:lower()] = id
      listed[#listed + 1] = ("%q"):format(id)
    end
  end
  local near = #name <= LONGEST_NAME and options.nearest(name:lower(), by_name)
  if near then return ("did you mean %q?"):format(by_name[near]) end
  local told = math.min(#listed, LISTED)
  if told == 0 then return nil end
  local more = #list > told and (" and %d more"):format(#list - told) or ""
  return "the server has " .. table.concat(listed, ", ", 1, told) .. more
end

local HINT_TIMEOUT = 5 -- seconds

--- A hint for a call whose model the server refuses: it is asked once for its list. Whatever comes of that, the refusal
--- stays.
---@param client lmm.Client
---@param call lmm.Call  the one that was refused
---@param failure table
---@return string?
function models.hint(client, call, failure)
  if failure.status ~= 404 or not failure.message:find "[Mm]odel" then return nil end
  if call.has_listed then return call.model_hint end
  call.has_listed = true
  local opts = calls.options(client, { retry = false, headers = call.sent_headers })
  opts.timeout = { total = math.min(HINT_TIMEOUT, (call.deadline or math.huge) - opts.started) }
  local list = models.list(client, opts, call.stream and function(...) return call.stream:run_aside(...) end)
  call.model_hint = list and hint_for(call.model, list)
  return call.model_hint
end

return models
