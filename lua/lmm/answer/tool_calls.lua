--- The tool calls of one choice: the calls of a message or their deltas come in; whole calls go out, for the caller and
--- for the history.
local core = require "lmm.core"
local json = require "lmm.json"

local tool_calls = {}

local function differ(a, b)
  return a and b and a ~= b
end

--- Whether a call's arguments are not all there. Looked at once: if they are not, what follows without an id and a name
--- is theirs.
local function goes_on(call)
  if not call.goes_on then
    local _, fault = core.decode(core.join(call.arguments), { lenient = true })
    call.goes_on = fault ~= nil
  end
  return call.goes_on
end

--- The tool call that a delta belongs to: by index and by id, as far as both have them, the latest first. Some servers
--- send an index, an id or a name late, some the index 0 for every call, and some another index with every delta.
local function find(calls, index, id, name)
  local latest = calls[#calls]
  if not index and not id then return latest end
  for i = #calls, 1, -1 do
    local call = calls[i]
    local is_same = index and call.index == index or id and call.id == id
    if is_same and not differ(call.index, index) and not differ(call.id, id) then return call end
  end
  if not latest then return nil end
  if not latest.id and not latest.name and not differ(latest.index, index) then return latest end
  return not id and not name and goes_on(latest) and latest or nil
end

local known = { index = true, id = true, type = true, ["function"] = true, name = true, arguments = true }

--- Keeps what else stands in a call or in its function, for the history.
local function keep_others(call, place, given)
  for name, value in pairs(given) do
    if not known[name] then
      call[place] = call[place] or {}
      call[place][name] = value
    end
  end
end

--- Adds a call or a delta of one; gives the call, the arguments in it as far as they are none of a text, and whether it
--- says anything new beside them. In a whole message each call is another.
---@param calls table[]
---@param delta table
---@param is_whole boolean
---@return table call, any arguments, boolean is_new
function tool_calls.add(calls, delta, is_whole)
  local fn = type(delta["function"]) == "table" and delta["function"] or delta
  local index = type(delta.index) == "number" and delta.index or nil
  local id, name = json.name_of(delta.id), json.name_of(fn.name)
  local call = not is_whole and find(calls, index, id, name)
  local is_new = not call or id and not call.id or name and not call.name
  if not call then
    call = { arguments = {}, index = nil, id = nil, name = nil, type = nil }
    calls[#calls + 1] = call
  end
  call.index, call.id, call.name = call.index or index, call.id or id, call.name or name
  call.type = call.type or json.name_of(delta.type)
  keep_others(call, "beside", delta)
  if fn ~= delta then keep_others(call, "within", fn) end
  return call, fn.arguments, is_new and true or false
end

--- The calls for the caller.
---@return lmm.ToolCall[]?
function tool_calls.finish(calls, limits)
  if not calls then return nil end
  local finished = {}
  for i, call in ipairs(calls) do
    local arguments = core.join(call.arguments)
    local args = core.decode(json.arguments(arguments), { depth = limits.depth, clean = true, lenient = true })
    finished[i] = { id = call.id, name = call.name, arguments = arguments, args = args }
  end
  return finished
end

--- The same calls for a history, with every field that they came with.
---@param calls table[]
---@param finished lmm.ToolCall[]
---@return table[]
function tool_calls.for_history(calls, finished)
  local list = {}
  for i, call in ipairs(finished) do
    local source = calls[i]
    local fn = { name = call.name, arguments = json.arguments(call.arguments) }
    for name, value in pairs(source.within or {}) do fn[name] = value end
    local is_other = source.type and source.type ~= "function" and not source.name -- which is beside, as it came
    local item = { id = call.id, type = source.type or "function", ["function"] = not is_other and fn or nil }
    for name, value in pairs(source.beside or {}) do item[name] = value end
    list[i] = item
  end
  return list
end

--- The calls in a message or a delta, each with its place; one in the place of a list is that one.
function tool_calls.items(given)
  return json.items(type(given) == "table" and given["function"] and { given } or given)
end

return tool_calls
