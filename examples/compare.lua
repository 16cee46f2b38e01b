-- Two models, one picture, both asked at once:   lua5.4 examples/compare.lua picture.jpg MODEL_A MODEL_B
-- A MODEL is one of the server at $OPENAI_BASE_URL; URL=MODEL is one of another server, and URL alone is its first one.
local lmm = require "lmm"

if #arg ~= 3 then
  io.stderr:write "usage: compare.lua PICTURE MODEL|URL|URL=MODEL MODEL|URL|URL=MODEL\n"
  os.exit(2)
end
local picture, names = lmm.image(arg[1]), { arg[2], arg[3] }
if picture.err then
  io.stderr:write(picture.err.message, "\n")
  os.exit(1)
end

local function ask(name)
  local url, model = name:match "^(https?://[^=]*)=?(.*)$"
  if model == "" then model = nil elseif not url then model = name end
  local client = lmm.connect { base_url = url, model = model }
  return function() return client:conversation():ask("What is shown in the image? Answer in one sentence.", picture) end
end

local replies, errors = lmm.gather { ask(names[1]), ask(names[2]) }
for i, name in ipairs(names) do
  local reply = replies[i]
  print(("== %s%s"):format(name, reply and (", %.1f s"):format(reply.timing.total) or ""))
  print(reply or "failed: " .. tostring(errors[i]))
end
os.exit(next(errors) == nil and 0 or 1)
