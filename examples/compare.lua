-- Two models, one picture, both asked at once:   lua5.4 examples/compare.lua picture.jpg MODEL_A MODEL_B
-- Where only models of the server at $OPENAI_BASE_URL are compared; a model elsewhere is URL=MODEL.
local lmm = require "lmm"

local picture, names = lmm.image(arg[1] or "examples/picture.jpg"), { arg[2], arg[3] }
if #names < 2 then
  io.stderr:write "usage: compare.lua PICTURE [URL=]MODEL [URL=]MODEL\n"
  os.exit(2)
end

local function ask(name)
  local url, model = name:match "^(https?://[^=]*)=(.*)$"
  local client = lmm.connect { base_url = url, model = model or name }
  return function() return client:conversation():ask("What is shown in the image? Answer in one sentence.", picture) end
end

local replies, errors = lmm.gather { ask(names[1]), ask(names[2]) }
for i, name in ipairs(names) do
  local reply = replies[i]
  print(("== %s%s"):format(name, reply and (", %.1f s"):format(reply.timing.total) or ""))
  print(reply or "failed: " .. tostring(errors[i]))
end
os.exit(next(errors) == nil and 0 or 1)
