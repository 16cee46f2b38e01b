--- The search for the row that a run's own server dies of: which rows are lost to its deaths and that it answers others
--- come in; which row is to run alone, and whether one is to blame, goes out. A life is from one start of the server to
--- the next, counted from 1.
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
---@field died integer         the last life that a row was lost in
---@field has_answered boolean something has come of a row since the start, or since a row was blamed
local Suspects = {}
Suspects.__index = Suspects

local suspects = {}

---@return lmm.Suspects
function suspects.new()
  return setmetatable({ died = 0, has_answered = false }, Suspects)
end

--- Whether the server may have died of this row.
---@param row lmm.Row?
---@return boolean
function suspects.is(row)
  return row ~= nil and (row.deaths or 0) >= SUSPECT_DEATHS
end

--- A row was lost as the server died.
---@param life integer  in which the row began
function Suspects:lose(row, life)
  if row.died ~= life then row.died, row.deaths = life, (row.deaths or 0) + 1 end
  self.died = math.max(self.died, life)
end

--- Something has come of a row.
function Suspects:answer()
  self.has_answered = true
end

--- Whether what becomes of a row that begins in this life tells anything of the row.
---@param life integer
---@return boolean
function Suspects:can_tell(life)
  return self.died ~= life
end

--- The server has died while a suspect ran alone. Where that is to blame, this is its error.
---@param are_all_suspects boolean  no other rows are left, and some went well
---@param err lmm.Error  what the server died with
---@return lmm.Error?
function Suspects:blame(are_all_suspects, err)
  if not (self.has_answered or are_all_suspects) then return nil end
  self.has_answered = false
  return errors.new { kind = "connect",
    message = "the server died each time that this row ran, the last time alone: " .. err.message }
end

return suspects
