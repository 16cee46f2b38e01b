-- A conversation about a picture that lasts: it is saved after each turn, and goes on where it was left when the
-- program is started again.   lua5.4 examples/long_chat.lua [PICTURE [FILE]]
-- Questions come from standard input, a line each; behind each answer stands what its turn has taken: where the server
-- keeps media, the picture is sent once.
-- The server is $OPENAI_BASE_URL, else http://127.0.0.1:8000/v1.
local lmm = require "lmm"

local picture, file = arg[1] or "examples/picture.jpg", arg[2] or "long_chat.json"

local MOST_TURNS = 50 -- older ones are forgotten

local function give_up(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

local client = lmm.connect()
local chat, message
local before = io.open(file)
if before then
  before:close()
  chat, message = client:load(file)
  if not chat then give_up(message) end
  print(("%s goes on after %d messages"):format(file, #chat.messages))
else
  chat = client:conversation { system = "Answer in one sentence." }
end

for question in io.lines() do
  local is_first = #chat.messages <= 1
  local reply, why = chat:ask(question, is_first and lmm.image(picture) or nil)
  if not reply then give_up(why) end -- the turns before it are saved
  print(reply)
  local usage = reply.usage
  print(("turn: %d bytes sent, %d tokens of the prompt, %d of the answer; %d messages"):format(usage.bytes_sent,
    usage.prompt_tokens or 0, usage.completion_tokens or 0, #chat.messages))
  chat:trim { turns = MOST_TURNS }
  local ok, problem = chat:save(file)
  if not ok then give_up(problem) end
end
print(("in all: %d requests, %d bytes, %d tokens"):format(chat.usage.requests, chat.usage.bytes_sent,
  chat.usage.total_tokens))
