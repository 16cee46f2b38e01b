-- What `make demo` runs: the built-in server, a question about a picture, and proof that its bytes arrived intact.
local lmm = require "lmm"

local picture = "examples/picture.jpg"

local server = assert(lmm.mock { delay = 0.03 })
print("A server without a model listens at " .. server.url .. ". Asking it about " .. picture .. ":\n")

local client = lmm.connect(server.url)
local chat = client:conversation { system = "Answer in one sentence." }
local stream = chat:stream("What is shown in the image?", lmm.image(picture))
for piece in stream do
  io.write(piece)
  io.flush()
end
local reply = assert(stream:reply())
client:close()
server.stop()

local sum = assert(io.popen("sha256sum " .. picture))
local digest = sum:read "*a":match "^%x+"
sum:close()
print("\n\nsha256 of the file:   " .. digest)
print("sha256 at the server: " .. (reply.text:match "sha256 (%x+)" or "none"))
if not reply.text:find(digest, 1, true) then
  io.stderr:write "The bytes that arrived are not those of the file.\n"
  os.exit(1)
end

print(([[
The same bytes. First piece after %.0f ms, all of it after %.0f ms.

The lines that did it:

    local lmm = require "lmm"
    local chat = lmm.connect("%s"):conversation { system = "Answer in one sentence." }
    for piece in chat:stream("What is shown in the image?", lmm.image "%s") do io.write(piece) end

Next, against a real server:

    make install        (as root, or with PREFIX=$HOME/.local)
    lmm ask --url http://127.0.0.1:8000/v1 -i %s "What is shown in the image?"]])
  :format(reply.timing.first_token * 1000, reply.timing.total * 1000, server.url, picture, picture))
