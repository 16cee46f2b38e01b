-- A caption for every picture of a folder, eight at a time:   lua5.4 examples/folder.lua [FOLDER [QUESTION]]
-- One line each: the file's name, a tab, the answer. What could not be asked goes to standard error; the exit code is
-- then 1.
local lmm = require "lmm"

local folder, question = arg[1] or "examples", arg[2] or "Write a caption for this picture, in one line."
local client = lmm.connect()

local function give_up(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

local found, problem = io.open(folder .. "/.")
if not found then give_up("cannot read " .. problem) end
found:close()

local names = {}
local listing = assert(io.popen("cd -- '" .. folder:gsub("'", "'\\''") .. "' && ls"))
for name in listing:lines() do
  if name:lower():find "%.jpe?g$" or name:lower():find "%.png$" or name:lower():find "%.webp$" then
    names[#names + 1] = name
  end
end
listing:close()
if #names == 0 then give_up("no pictures in " .. folder) end

local models, why = client:models()
if not models then give_up(why) end

local failed = 0
local tasks = {}
for i, name in ipairs(names) do
  tasks[i] = function()
    local reply, message = client:conversation():ask(question, lmm.image(folder .. "/" .. name))
    if reply then
      print(name .. "\t" .. reply.text:gsub("%s+", " "))
    else
      failed = failed + 1
      io.stderr:write(name, ": ", message, "\n")
    end
  end
end
lmm.gather(tasks, { limit = 8 })
os.exit(failed == 0 and 0 or 1)
