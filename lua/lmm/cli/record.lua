--- A record of what a client receives: the client comes in; the bytes of its last reply go out. A decoded reply has
--- lost the order of its names and the spelling of its numbers.

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

local Transport = {}
Transport.__index = Transport

function Transport:start(request)
  local inner, failure = self.inner:start(request)
  if not inner then return nil, failure end
  self.recorder.pieces = {}
  return setmetatable({ inner = inner, pieces = self.recorder.pieces }, Transfer)
end

local Recorder = {}
Recorder.__index = Recorder

--- The body of the last reply.
function Recorder:body()
  return table.concat(self.pieces)
end

local record = {}

--- Has a client record what it receives.
---@param client lmm.Client
function record.new(client)
  local recorder = setmetatable({ pieces = {} }, Recorder)
  client:wrap_transport(function(inner) return setmetatable({ inner = inner, recorder = recorder }, Transport) end)
  return recorder
end

return record
