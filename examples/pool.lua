-- usage: lua examples/pool.lua URL... -- PICTURE...
--
-- Describes pictures, all at once, by several servers: each goes to the server with the least to do, and to another
-- where one dies. In the end the servers are told of.
local lmm = require "lmm"

local urls, pictures = {}, nil
for _, word in ipairs(arg) do
  if word == "--" then pictures = {} else table.insert(pictures or urls, word) end
end
if #urls == 0 or not pictures or #pictures == 0 then
  io.stderr:write "usage: pool.lua URL... -- PICTURE...\n"
  os.exit(2)
end

local client = lmm.connect { base_url = urls }

local asks = {}
for i, path in ipairs(pictures) do
  asks[i] = function() return client:conversation():ask("What is shown in the image?", lmm.image(path)) end
end
local replies, errors = lmm.gather(asks)

for i, path in ipairs(pictures) do print(path .. ": " .. (replies[i] or errors[i])) end
for _, server in ipairs(client:servers()) do
  local state = server.alive and "is well" or "is down: " .. server.last_error
  io.stderr:write(("%s %s\n"):format(server.url, state))
end
os.exit(next(errors) and 1 or 0)
