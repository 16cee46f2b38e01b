--- How far a batch is: what its run says of itself, a lmm.Progress, comes in; standard error gets it, on a terminal as
--- a line that is written over each time, elsewhere as a note now and then.
local console = require "lmm.cli.console"
local progress = require "lmm.cli.progress"
local texts = require "lmm.text"

---@class lmm.batch.Report
---@field client lmm.Client?          of the run's servers
---@field line table                  on the terminal
---@field noted_at number             seconds of the run, at the last note
---@field told table<string, { is_out: boolean, at: number }>  what was said of a server last, by its URL; `at`: when
--- it was said to be left out
local Report = {}
Report.__index = Report

local report = {}

local NOTE_INTERVAL = 30 -- seconds, where standard error is no terminal; and for what is said of one server

---@param client lmm.Client?
---@return lmm.batch.Report
function report.new(client)
  return setmetatable({ client = client, line = progress.new(), noted_at = 0, told = {} }, Report)
end

local function duration(seconds)
  if seconds < 90 then return ("%.0f s"):format(seconds) end
  if seconds < 5400 then return ("%.0f min"):format(seconds / 60) end
  return ("%.1f h"):format(seconds / 3600)
end

--- "120/1000 rows, 12.5/s, 340 tokens/s, 2 failed, 64 of 64 running, 70 s left"
local function describe(state)
  local ended = state.done + state.failed
  local words = { (state.total and ended .. "/" or "") .. texts.count(state.total or ended, "row") }
  words[#words + 1] = ("%.1f/s"):format(state.per_second)
  if state.completion_tokens > 0 and state.seconds > 0 then
    words[#words + 1] = ("%.0f tokens/s"):format(state.completion_tokens / state.seconds)
  end
  if state.failed > 0 then words[#words + 1] = ("%d failed"):format(state.failed) end
  words[#words + 1] = ("%d of %d running"):format(state.running, state.concurrency)
  if state.waits_for then
    words[#words + 1] = "waiting: " .. state.waits_for
  elseif state.total and state.per_second > 0 and ended < state.total then
    words[#words + 1] = duration((state.total - ended) / state.per_second) .. " left"
  end
  return table.concat(words, ", ")
end

--- Takes the line away.
function Report:clear()
  self.line:clear()
end

--- Says something that stays.
function Report:note(format, ...)
  self:clear()
  console.note("lmm: " .. format, ...)
end

--- Says how far the run is, so that it stays.
---@param state lmm.Progress
function Report:note_state(state)
  self:note("%s", describe(state))
end

--- Says of each server that it is left out, once in NOTE_INTERVAL, and that it is back; where all are out, the run says
--- why it waits or ends.
---@param seconds number  of the run
function Report:note_servers(seconds)
  local client, is_any_alive = self.client, false
  local states = client and client.pool and client:servers() or {}
  for _, state in ipairs(states) do is_any_alive = is_any_alive or state.alive end
  if not is_any_alive then return end
  for _, state in ipairs(states) do
    local told = self.told[state.url] or { is_out = false, at = -math.huge }
    if state.alive and told.is_out then
      told.is_out = false
      self:note("%s answers again", state.url)
    elseif not state.alive and not told.is_out and seconds - told.at >= NOTE_INTERVAL then
      self.told[state.url] = { is_out = true, at = seconds }
      self:note("%s: it is left out while others answer", state.last_error.message)
    end
  end
end

--- For whoever looks on while the run goes on.
---@param state lmm.Progress
function Report:show(state)
  self:note_servers(state.seconds)
  if self.line.width then
    self.line:show(state.seconds, describe(state))
  elseif state.seconds - self.noted_at >= NOTE_INTERVAL then
    self.noted_at = state.seconds
    self:note_state(state)
  end
end

return report
