-- From an image to an answer:   lua5.4 examples/describe.lua picture.jpg
-- The server is $OPENAI_BASE_URL, else http://127.0.0.1:8000/v1.
local lmm = require "lmm"

local chat = lmm.connect():conversation { system = "Answer in one sentence." }
print(assert(chat:ask("What is shown in the image?", lmm.image(arg[1] or "examples/picture.jpg"))))
