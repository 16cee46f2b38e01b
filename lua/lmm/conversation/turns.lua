--- The turns of a conversation: its history comes in; where each question stands goes out. A turn is a question and all
--- that follows it up to the next one: calls, their results, the answer.
local turns = {}

--- Whether the message at a place is a question of the user's. Behind a tool's result it belongs to that: so come
--- pictures that a tool gave.
---@param history lmm.History
---@param i integer
function turns.is_question(history, i)
  return history:role(i) == "user" and history:role(i - 1) ~= "tool"
end

--- The place of the last question, or nil.
---@param history lmm.History
---@return integer?
function turns.last(history)
  for i = history:size(), 1, -1 do
    if turns.is_question(history, i) then return i end
  end
end

--- The places of all questions.
---@param history lmm.History
---@return integer[]
function turns.places(history)
  local places = {}
  for i = 1, history:size() do
    if turns.is_question(history, i) then places[#places + 1] = i end
  end
  return places
end

return turns
