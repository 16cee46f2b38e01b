-- A client whose server sends a row's reply comes in; it is asked, and what comes is held against the row.
local assert = require "luassert"

--- The pieces of a stream, joined; plain 5.1, so that it runs in a task there.
local function read(stream)
  local pieces = {}
  local piece = stream:next()
  while piece do
    pieces[#pieces + 1] = piece
    piece = stream:next()
  end
  return table.concat(pieces)
end

---@param method "chat"|"stream"
return function(client, row, method)
  local request = { messages = { { role = "user", content = "q" } }, n = row.n }
  local reply, message, err, pieces
  if method == "chat" then
    reply, message, err = client:chat(request)
  else
    local stream = client:stream(request)
    pieces = read(stream)
    reply, message, err = stream:reply()
  end
  if row.fails then
    local fails = row.fails
    if reply then error("succeeded with " .. ("%q"):format(reply.text), 0) end
    assert.same({ fails[1], fails[2] }, { err.kind, err.status or false }, message)
    for i = 3, #fails do assert(message:find(fails[i], 1, true), message) end
    if row.partial then assert.equal(row.partial, err.partial) end
    return
  end
  if not reply then error(message, 0) end
  for name, value in pairs(row.gives) do
    if type(value) == "function" then value(reply[name]) else assert.equal(value, reply[name], name) end
  end
  if pieces then assert.equal(reply.text, pieces) end
end
