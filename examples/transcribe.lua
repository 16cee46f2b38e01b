-- What is said in sounds or films, with its times where the server tells them:
--     lua5.4 examples/transcribe.lua talk.mp3 interview.mp4
-- The server is $OPENAI_BASE_URL, else http://127.0.0.1:8000/v1; `vllm serve openai/whisper-large-v3` is one.
local lmm = require "lmm"

if #arg == 0 then
  io.stderr:write "usage: transcribe.lua FILE...\n"
  os.exit(2)
end

local function clock(seconds)
  return ("%d:%04.1f"):format(math.floor(seconds / 60), seconds % 60)
end

--- Prints a line for each segment, or the text where there are none.
local function show(reply)
  for _, segment in ipairs(reply.segments or {}) do
    print(("[%s - %s] %s"):format(clock(segment.start), clock(segment["end"]), segment.text:match "^%s*(.*)$"))
  end
  if not (reply.segments and reply.segments[1]) then print(reply) end
end

local client, failed = lmm.connect { timeout = { first = 3600 } }, false
for _, path in ipairs(arg) do
  if #arg > 1 then print("== " .. path) end
  local reply, message = client:transcribe(path, { response_format = "verbose_json" })
  if reply then show(reply) else io.stderr:write(path, ": ", message, "\n") end
  failed = failed or not reply
end
os.exit(failed and 1 or 0)
