-- A client whose server sends a row's reply comes in; it is asked, and what is not as the row says goes out. No pcall
-- stands around a wait, and no `for` loop, so that it runs in a task of plain 5.1.

local function read(stream)
  local pieces = {}
  local piece = stream:next()
  while piece do
    pieces[#pieces + 1] = piece
    piece = stream:next()
  end
  return table.concat(pieces)
end

local function show(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
  return table.concat(out, " ")
end

local function check_failure(row, reply, message, err)
  local fails = row.fails
  if reply then return "succeeded with " .. reply.text end
  if err.kind ~= fails[1] or (err.status or false) ~= fails[2] then return show(err.kind, err.status, message) end
  for i = 3, #fails do
    if not message:find(fails[i], 1, true) then return message end
  end
  if row.partial and row.partial ~= err.partial then return "the text before it is " .. show(err.partial) end
end

local function check_reply(row, reply, message, pieces)
  if not reply then return message end
  for name, value in pairs(row.gives) do
    if type(value) == "function" then
      local ok, problem = pcall(value, reply[name])
      if not ok then return name .. ": " .. show(problem) end
    elseif value ~= reply[name] then
      return name .. " is " .. show(reply[name])
    end
  end
  if pieces and pieces ~= reply.text then return "the pieces are " .. pieces end
end

---@param method "chat"|"stream"
---@return string? problem
return function(client, row, method)
  local request = { messages = { { role = "user", content = "q" } }, n = row.n }
  local pieces, reply, message, err
  if method == "chat" then
    reply, message, err = client:chat(request)
  else
    local stream = client:stream(request)
    pieces = read(stream)
    reply, message, err = stream:reply()
  end
  if row.fails then return check_failure(row, reply, message, err) end
  return check_reply(row, reply, message, pieces)
end
