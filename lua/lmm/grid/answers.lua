--- The answers of a grid: a plan and its folder come in; which cells are answered, and what each answer is, go out. The
--- files are those of lmm.bulk, a line for each cell that was ever asked, and are read where they stand: no answer is
--- kept in memory.
local errors = require "lmm.errors"
local json = require "lmm.json"

local answers = {}

--- What came for a cell.
---@class lmm.GridAnswer
---@field text string, reasoning string?, refusal string?, finish_reason string?
---@field tool_calls table[]?, value any
---@field prompt_tokens integer?, completion_tokens integer?, cost number?
---@field first number?, total number?  seconds
---@field model string?, id string?
---@field logged integer?  the id in the log that the answer was taken from

---@class lmm.GridAnswers
---@field plan lmm.GridPlan
---@field keys string[]        by the numbers of cells
---@field first integer[]      of a cell that asks what another one asks: the number of that one
---@field problems table<integer, string>  why a cell cannot be asked
local Answers = {}
Answers.__index = Answers

--- What is kept of a reply.
---@param reply lmm.Reply
---@return table
function answers.of(reply)
  local usage, timing = reply.usage or {}, reply.timing or {}
  return {
    text = reply.text, reasoning = reply.reasoning, refusal = reply.refusal, finish_reason = reply.finish_reason,
    tool_calls = reply.tool_calls and next(reply.tool_calls) and reply.tool_calls or nil, value = reply.value,
    cost = reply.cost, first = timing.first_token, total = timing.total, model = reply.model, id = reply.id,
    usage = { prompt_tokens = usage.prompt_tokens, completion_tokens = usage.completion_tokens },
  }
end

--- The keys of all cells, and the cells that ask what an earlier one does.
---@param plan lmm.GridPlan
---@param folder lmm.GridFolder
---@param digests fun(part: lmm.Part): string
---@return lmm.GridAnswers
function answers.new(plan, folder, digests)
  local self = setmetatable({ plan = plan, folder = folder, keys = {}, first = {}, by_key = {}, problems = {},
    files = {}, places = {}, sources = {} }, Answers)
  for number = 1, plan.count do
    local cell = plan:cell(number)
    local key, problem
    if cell.model.problem then problem = cell.model.problem else key, problem = plan:key(cell, digests) end
    if key then
      self.keys[number], self.first[number] = key, self.by_key[key] or number
      self.by_key[key] = self.by_key[key] or number
    else
      self.problems[number] = problem
    end
  end
  return self
end

--- Calls `fn(path, is_failed)` for each file of answers, those of failures first.
function Answers:each_file(fn)
  local seen = {}
  for _, is_failed in ipairs { true, false } do
    for _, model in ipairs(self.plan.models) do
      local path = self.folder:answers(model.client)
      if is_failed then path = path:gsub("%.jsonl$", ".errors.jsonl") end
      if not seen[path] then
        seen[path] = true
        fn(path, is_failed)
      end
    end
  end
end

--- Finds where each answer stands. A last line that was cut short is none: lmm.bulk drops it.
function Answers:locate()
  self:close()
  self.places, self.sources, self.failed = {}, {}, {}
  self:each_file(function(path, is_failed)
    local file = io.open(path, "rb")
    if not file then return end
    self.files[#self.files + 1] = file
    local offset, size = 0, file:seek "end"
    file:seek "set"
    for line in file:lines() do
      local number = self.by_key[line:match '^{"id":"[^"]*","custom_id":"(%x+)"']
      if number and offset + #line < size then
        self.places[number], self.sources[number], self.failed[number] = offset, file, is_failed
      end
      offset = offset + #line + 1
    end
  end)
end

--- Whether a cell has an answer; nil: it was not asked yet.
---@return "answered"|"failed"|nil
function Answers:state(number)
  local first = self.first[number]
  if not first or not self.places[first] then return nil end
  return self.failed[first] and "failed" or "answered"
end

--- What came for a cell: an answer, or why there is none.
---@param number integer
---@return lmm.GridAnswer? answer, { message: string, code: string?, status: integer? }? err
function Answers:read(number)
  local first = self.first[number]
  local offset = first and self.places[first]
  if not offset then return nil, nil end
  local file = self.sources[first]
  file:seek("set", offset)
  local value = json.clean((json.decode(file:read "*l" or "")))
  if type(value) ~= "table" then return nil, { message = "its line in the file of answers is damaged" } end
  if value.error then
    local response = value.response or {}
    return nil, { message = value.error.message, code = value.error.code, status = response.status_code }
  end
  local answer = value.response.body
  local usage = answer.usage or {}
  answer.usage, answer.prompt_tokens, answer.completion_tokens = nil, usage.prompt_tokens, usage.completion_tokens
  answer.text = answer.text or ""
  return answer
end

--- Puts all answers aside, so that everything is asked again: they stay beside the new ones until the next time.
---@return true? done, lmm.Error? err
function Answers:put_aside()
  self:close()
  local moved = {}
  self:each_file(function(path)
    local run = path:gsub("%.errors%.jsonl$", ".jsonl"):gsub("%.jsonl$", ".run")
    for _, name in ipairs { path, run } do
      local file = not moved[name] and io.open(name, "rb")
      if file then
        file:close()
        moved[#moved + 1], moved[name] = name, true
      end
    end
  end)
  for _, name in ipairs(moved) do
    local ok, message = os.rename(name, name .. ".old")
    if not ok then return nil, errors.new { kind = "invalid", message = "cannot put answers aside: " .. message } end
  end
  return true
end

function Answers:close()
  for i, file in ipairs(self.files) do
    file:close()
    self.files[i] = nil
  end
end

return answers
