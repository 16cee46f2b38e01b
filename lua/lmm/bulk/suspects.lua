--- The search for the row that a run's own server dies of: its starts, which rows begin and are lost to its deaths,
--- and that it answers others come in; which row runs alone, and whether one is to blame, goes out. A life is from one
--- start of the server to the next, counted from 1.
---
--- The rule.
---
--- 1. A row that ran when the server died may be what it died of, as may those that ran beside it. One that ran at two
---    deaths is a suspect. A death counts once, however often the row was tried while the server was dying.
--- 2. A suspect runs alone, and before the rows that wait: so the next death tells. But a server that has answered
---    nothing since the suspect was lost, nor since a row was blamed, is to answer another row first.
--- 3. A suspect that ran alone when the server died is to blame, where the server is known to answer: something has
---    come of other rows since the last one was blamed, or only suspects are left of a run in which rows went well. So
---    no row is blamed where the server dies of every one.
--- 4. In a life in which a row was lost already nothing is learnt from a suspect that begins: the server may be dying,
---    or dead, of the row before.
local errors = require "lmm.errors"

local SUSPECT_DEATHS = 2

---@class lmm.Suspects
---@field life integer         0 before the first one
---@field alone lmm.Row?       the suspect that runs alone, or ran last
---@field died integer         the last life that a row was lost in
---@field has_answered boolean something has come of a row since the start, or since a row was blamed
local Suspects = {}
Suspects.__index = Suspects

local suspects = {}

---@return lmm.Suspects
function suspects.new()
  return setmetatable({ life = 0, alone = nil, died = 0, has_answered = false }, Suspects)
end

--- Whether the server may have died of this row.
---@param row lmm.Row?
---@return boolean
function suspects.is(row)
  return row ~= nil and (row.deaths or 0) >= SUSPECT_DEATHS
end

--- The server has started.
function Suspects:start()
  self.life, self.alone = self.life + 1, nil
end

--- A row begins.
---@param row lmm.Row
function Suspects:begin(row)
  row.life = self.life
  if self.died ~= self.life then self.alone = suspects.is(row) and row or nil end
end

--- A row was lost as the server died.
---@param row lmm.Row
function Suspects:lose(row)
  if row.died ~= row.life then row.died, row.deaths = row.life, (row.deaths or 0) + 1 end
  self.died = math.max(self.died, row.life)
end

--- Something has come of a row.
function Suspects:answer()
  self.has_answered, self.alone = true, nil
end

--- The server has died. Whether the suspect that ran alone is to blame: its `blame` is its error then.
---@param are_all_suspects boolean  no other rows are left, and some went well
---@param err lmm.Error  what the server died with
---@return boolean
function Suspects:blame(are_all_suspects, err)
  local row = self.alone
  if not row or not (self.has_answered or are_all_suspects) then return false end
  row.blame = errors.new { kind = "connect",
    message = "the server died each time that this row ran, the last time alone: " .. err.message }
  self.has_answered, self.alone = false, nil
  return true
end

return suspects
