--- The rounds of one question: each reply that calls tools comes in; the tools are run, and the next request with
--- their results goes out, until there is an answer. All messages of these rounds are gathered, and the history gets
--- them together at the end.
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local options = require "lmm.options"
local results = require "lmm.conversation.results"
local running = require "lmm.conversation.running"
local tools = require "lmm.conversation.tools"

---@class lmm.ToolRules
---@field run_tools boolean?      false: the calls are the caller's, see chat:result
---@field max_rounds integer?     requests for one question (8)
---@field max_repairs integer?    how often wrong arguments of one call may go back (2)
---@field tool_timeout number?    seconds that a tool may take; no limit unless given
---@field on_tool_error "tell"|"raise"|nil  what a tool raises is told to the model, or raised again
---@field on_call nil|fun(call: lmm.ToolCall): boolean|string  whether a call may run, or why not, for the model
---@field stop_when nil|fun(steps: lmm.ToolStep[]): boolean?  asked after each round; true: the reply that came is
--- the last

---@class lmm.ToolStep
---@field calls lmm.ToolCall[]
---@field results lmm.ToolResult[]  ordered as the calls are
---@field usage table?              of the reply that made the calls

---@class lmm.Rounds: lmm.Between
local Rounds = {}
Rounds.__index = Rounds

local rounds = {}

local MAX_ROUNDS, MAX_REPAIRS = 8, 2
local LONGEST_NAME = 100 -- bytes of a tool's name, in a message

local rows = { run_tools = "boolean", max_rounds = "number", max_repairs = "number", tool_timeout = "number",
  on_tool_error = "string", on_call = "function", stop_when = "function" }

local function check_count(rules, name, least)
  local value = rules[name]
  if value and not (value >= least and (value % 1 == 0 or value == math.huge)) then
    errors.misuse("%s is a whole number from %d on, not %s", name, least, tostring(value))
  end
end

--- Checks the options that are about tools.
---@param rules lmm.ToolRules
function rounds.check(rules)
  options.check("conversation", rows, rules)
  check_count(rules, "max_rounds", 1)
  check_count(rules, "max_repairs", 0)
  options.check_seconds("tool_timeout", rules.tool_timeout)
  local on_error = rules.on_tool_error
  if on_error and on_error ~= "tell" and on_error ~= "raise" then
    errors.misuse("on_tool_error is \"tell\" or \"raise\", not '%s'", on_error)
  end
end

--- Makes the rounds of one question. Its request gets the tools of the conversation.
---@param chat lmm.Conversation
---@param fields table  of the request
---@param rules lmm.ToolRules
---@param ours table    the options of the call
---@param messages table[]  what is to be sent behind the history; grows by what comes
---@param exchange fun(): lmm.StreamExchange  makes the next one, with all messages
---@return lmm.Rounds
function rounds.new(chat, fields, rules, ours, messages, exchange)
  local own = fields.tools
  fields.tools = chat.tools:sent(own)
  return setmetatable({
    tools = chat.tools, client = chat.client, fields = fields, rules = rules, ours = ours,
    own = tools.names(own), -- the names of tools that the caller runs himself
    own_tools = own,
    exchange = exchange,
    messages = messages, finished = nil, -- so many of them belong to rounds that are over; nil: none is
    count = 0,          -- of replies
    cost = 0,           -- of all of them
    steps = {},
    repairs = {},       -- how often the arguments of a call have been wrong in succession, by its name and place
    -- of the round under way
    reply = nil, slots = nil, pieces = nil, given = nil, run = nil, raised = nil, cancelled = nil,
    has_run = nil, has_ended = nil, -- whether all of its tools, or any of them, have ended
  }, Rounds)
end

--- The first of these calls that no tool here can answer, or that is not to be answered here.
---@param list lmm.ToolCall[]
---@return lmm.ToolCall?
function Rounds:first_unknown(list)
  for _, call in ipairs(list) do
    if self.rules.run_tools == false or not self.tools:find(call.name) then return call end
  end
end

-- ---- a round begins

--- Begins to answer calls. Those that only the caller can answer are left to him.
---@param list lmm.ToolCall[]
---@param reply lmm.Reply?  in which they stand
function Rounds:begin(list, reply)
  self.reply, self.slots, self.pieces, self.given = reply, {}, {}, 0
  self.has_run, self.has_ended = false, false
  self.client.calls[self] = true -- so that closing the client ends the round, too
  for i, call in ipairs(list) do
    local name = call.name or ""
    local slot = { call = call, tool = self.tools:find(name), result = nil }
    if not slot.tool and not self.own[name] then
      local shown = name:sub(1, LONGEST_NAME)
      local what = name == "" and "the call names no tool" or ("there is no tool '%s'"):format(shown)
      slot.result = results.failed(call, "%s; the tools are: %s", what, self.tools:words(self.own))
    end
    self.slots[i] = slot
    self.pieces[i] = { "tool_call", call }
  end
end

--- What goes on behind a reply. See lmm.stream.
---@param reply lmm.Reply  whose message is the last one here
---@return lmm.Between? between, lmm.Error? err
function Rounds:after_reply(reply)
  self.count = self.count + 1
  reply.steps, reply.cost = self.steps, reply.cost and reply.cost + self.cost
  self.cost = reply.cost or 0
  local list, is_mine = self.rules.run_tools ~= false and reply.tool_calls or {}, false
  for _, call in ipairs(list) do is_mine = is_mine or not self.own[call.name or ""] end
  if not is_mine then return nil end
  local most = self.rules.max_rounds or MAX_ROUNDS
  if self.count >= most then
    return nil, errors.new { kind = "limit", attempts = reply.attempts, hint = "max_rounds sets this limit",
      message = ("the model still calls tools in reply %d to one question"):format(self.count) }
  end
  self:begin(list, reply)
  return self
end

-- ---- the tools run

--- What is wrong with a call's arguments, or nil.
---@param is_last boolean  of its reply, which may have been cut there
local function problem_of(slot, reply, is_last)
  local is_whole = slot.call.args ~= nil and slot.call.arguments:find "%S"
  local is_cut = is_last and not is_whole and reply and reply.finish_reason == "length"
  if is_cut then return "they were cut where the reply reached the most tokens (max_tokens)" end
  return tools.problem(slot.tool, slot.call)
end

--- Finds wrong arguments; gives an error where one call has them too often.
---@return lmm.Error? err
function Rounds:check_arguments()
  local most, places = self.rules.max_repairs or MAX_REPAIRS, {}
  for i, slot in ipairs(self.slots) do
    local call = slot.call
    if slot.tool then
      places[call.name] = (places[call.name] or 0) + 1
      local key = call.name .. " " .. places[call.name]
      local problem = problem_of(slot, self.reply, i == #self.slots)
      self.repairs[key] = problem and (self.repairs[key] or 0) + 1 or nil
      if problem and self.repairs[key] > most then
        local often = most > 0 and (" %d times in succession"):format(self.repairs[key]) or ""
        return errors.new { kind = "limit", hint = "max_repairs sets this limit",
          message = ("the model called '%s' with wrong arguments%s: %s"):format(call.name, often, problem) }
      end
      slot.result = problem and results.failed(call, "the arguments of %s are wrong: %s", call.name, problem)
    end
  end
end

--- Asks the caller whether a call may run; gives the result of one that may not.
---@return lmm.ToolResult?
function Rounds:refusal(call)
  local on_call = self.rules.on_call
  local answer = not on_call or on_call(call)
  if answer == true then return nil end
  return results.failed(call, "%s", type(answer) == "string" and answer or "this call was not allowed")
end

--- What runs the tool of a call. What the tool gives is read as a part of it, since that may raise, too, or wait.
---@return lmm.ToolJob
function Rounds:job(slot)
  local call, tool = slot.call, slot.tool
  local function run()
    local result = results.returned(call, tool.run(call.args, call))
    return result.content and require("lmm.conversation.media").checked(result, self.client, self.ours) or result
  end
  local function ended(how, value)
    self.has_ended = true
    if how == "returned" then
      slot.result = value
    elseif how == "late" then
      slot.result = results.failed(call, "the tool did not end within %g s", self.rules.tool_timeout)
    elseif self.rules.on_tool_error == "raise" then
      self.raised = self.raised or { value }
      self.run:cancel()
    else
      slot.result = results.raised(call, value)
    end
  end
  return { run = run, ended = ended, is_sequential = tool.sequential }
end

--- The jobs for the calls that are still without a result.
---@return lmm.ToolJob[]
function Rounds:jobs()
  local jobs = {}
  for _, slot in ipairs(self.slots) do
    local is_open = slot.tool and not slot.result
    if is_open and not self.cancelled then slot.result = self:refusal(slot.call) end
    if is_open and not slot.result then jobs[#jobs + 1] = self:job(slot) end
  end
  return jobs
end

--- Runs the tools and waits until the round is over; gives an error where it is ended before.
---@param stream lmm.Stream
---@return lmm.Error? err
function Rounds:run_tools(stream)
  local err = self:check_arguments()
  if err then return err end
  local jobs = self:jobs()
  if self.cancelled then return self:failure "cancelled" end -- while the caller was asked, or before
  self.run = running.new(jobs, self.rules.tool_timeout, stream:deadline())
  local ok, done, why = loops.pcall(self.run.wait, self.run)
  if not ok then
    self.run:cancel()
    error(done, 0)
  end
  if self.raised then error(self.raised[1], 0) end
  if not done then return self:failure(why, stream) end
  self:finish_round()
end

---@param why "cancelled"|"timeout"
function Rounds:failure(why, stream)
  if why == "cancelled" then return errors.new { kind = "cancelled", message = "the request was cancelled" } end
  local sentence = "no complete answer within %g s: not all tools had ended"
  return errors.new { kind = "timeout", limit = "total", message = sentence:format(stream.exchange.total),
    hint = "timeout.total sets this limit", elapsed = loops.current():now() - stream.started }
end

--- The results that are there, in the order of the calls.
---@return lmm.ToolResult[]
function Rounds:results()
  local list = {}
  for _, slot in ipairs(self.slots or {}) do list[#list + 1] = slot.result end
  return list
end

--- The calls have results: the round is over, but for those that are the caller's.
function Rounds:finish_round()
  local list, called = self:results(), {}
  for i, slot in ipairs(self.slots) do called[i] = slot.call end
  for _, result in ipairs(list) do
    self.messages[#self.messages + 1] = results.message(result)
    self.pieces[#self.pieces + 1] = { "tool_result", result }
  end
  self.finished, self.has_run = #self.messages, true
  if self.reply then self.steps[#self.steps + 1] = { calls = called, results = list, usage = self.reply.usage } end
end

--- The next exchange, or nil where the reply that came is the last; nil and an error where the round was
--- ended meanwhile.
function Rounds:next_exchange()
  local list, stop_when = self:results(), self.rules.stop_when
  local is_stopped = #list < #self.slots or self.reply and stop_when and stop_when(self.steps)
  self.slots = nil
  if self.cancelled then return nil, self:failure "cancelled" end
  if is_stopped then return nil end
  self.fields.tools = self.tools:sent(self.own_tools) -- a tool may have added one
  self.fields.tool_choice = tools.freed(self.fields.tool_choice)
  return self.exchange()
end

-- ---- for the stream

--- See lmm.stream.
function Rounds:next(stream)
  local exchange, err
  if self.given == #self.pieces and not self.has_run then err = self:run_tools(stream) end
  if not err and self.given < #self.pieces then
    self.given = self.given + 1
    local piece = self.pieces[self.given]
    return piece[1], piece[2]
  end
  if not err then exchange, err = self:next_exchange() end
  self.client.calls[self] = false
  return nil, exchange, err
end

function Rounds:cancel()
  self.cancelled = true
  self.client.calls[self] = false
  if self.run then self.run:cancel() end
end

--- The messages of the rounds that are over, with the question; and of the round under way, where some of its tools
--- have ended, its calls and what these gave. With them behind the history, `chat:ask()` goes on from there.
---@return table[]?  nil where no tool has ended
function Rounds:finished_messages()
  local list = self.has_ended and not self.has_run and self:results() or {}
  if not self.finished and #list == 0 then return nil end
  local out = {}
  for i = 1, #list > 0 and #self.messages or self.finished do out[i] = self.messages[i] end
  for _, result in ipairs(list) do out[#out + 1] = results.message(result) end
  return out
end

return rounds
