--- The turns of a conversation: its history comes in; where each question stands goes out. A turn is a question and all
--- that follows it up to the next one: calls, their results, the answer. What a user says between a call and its result
--- begins no turn, so that the two are never parted.
local turns = {}

--- Calls `fn` for the id of each call in a message.
local function each_call(message, fn)
  local calls = type(message) == "table" and message.role == "assistant" and message.tool_calls
  for _, call in ipairs(type(calls) == "table" and calls or {}) do
    if type(call) == "table" and call.id ~= nil then fn(call.id) end
  end
end

--- The id of the call whose result a message is, or nil.
local function result_id(message)
  return type(message) == "table" and message.role == "tool" and message.tool_call_id or nil
end

--- The place of the last question, or nil. It takes no longer than the last turn is long.
---@param history lmm.History
---@return integer?
function turns.last(history)
  local waiting, count, nearest = {}, 0, nil -- results whose calls were not met yet
  local function meet(id)
    if waiting[id] then waiting[id], count = nil, count - 1 end
  end
  for i = history:size(), 1, -1 do
    local message = history:at(i)
    local id = result_id(message)
    if id ~= nil and not waiting[id] then waiting[id], count = true, count + 1 end
    each_call(message, meet)
    if history:role(i) == "user" then
      if count == 0 then return i end
      nearest = nearest or i
    end
  end
  return nearest -- where a result belongs to no call
end

--- The places of all questions.
---@param history lmm.History
---@return integer[]
function turns.places(history)
  local places, open = {}, {} -- id of a call -> its place
  for i = 1, history:size() do
    local message = history:at(i)
    local id = result_id(message)
    local from = id ~= nil and open[id]
    while from and places[#places] and places[#places] > from do places[#places] = nil end
    each_call(message, function(call) open[call] = i end)
    if history:role(i) == "user" then places[#places + 1] = i end
  end
  return places
end

return turns
