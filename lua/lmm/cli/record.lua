--- A transport that records: another transport comes in; one that does the same, and keeps the bytes of the last reply,
--- goes out. A decoded reply has lost the order of its names and the spelling of its numbers.

local Transfer = {}
Transfer.__index = Transfer

function Transfer:head(deadline)
  return self.inner:head(deadline)
end

function Transfer:read(deadline)
  local bytes, err = self.inner:read(deadline)
  if bytes then self.pieces[#self.pieces + 1] = bytes end
  return bytes, err
end

function Transfer:close()
  self.inner:close()
end

local Recorder = {}
Recorder.__index = Recorder

function Recorder:start(request)
  local inner, failure = self.inner:start(request)
  if not inner then return nil, failure end
  self.pieces = {}
  return setmetatable({ inner = inner, pieces = self.pieces }, Transfer)
end

--- The body of the last reply.
function Recorder:body()
  return table.concat(self.pieces)
end

local record = {}

---@param transport lmm.Transport
function record.new(transport)
  return setmetatable({ inner = transport, pieces = {} }, Recorder)
end

return record
