-- usage: LUA bench/nginx.lua URL SMALL LARGE [ROUNDS]      from the project's folder
--
-- Asks the server at URL about two files, from a real nginx and from plain Lua in turn, and prints one line:
--
--     nginx SECONDS plain SECONDS ratio NUMBER growth KIB
--
-- The seconds are the fewest that an ask about LARGE took. `growth` is how much the peak memory of nginx's worker
-- process rose between the asks about SMALL and those about LARGE.
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"

local url, small, large, rounds = arg[1], arg[2], arg[3], tonumber(arg[4] or 5)

local TIMES = 3 -- asks about the large file in each round; one about the small file opens the connection before

local server = nginx.start {}

--- Runs bench/ask.lua inside nginx; gives the lines that it prints.
local function ask_nginx(files)
  local words = {}
  for i, file in ipairs(files) do words[i] = ("%q"):format(file) end
  return server:run([[
    local lines = {}
    local function print(line) lines[#lines + 1] = line end
    local globals = { arg = { "$url", $files }, print = print }
    setfenv(assert(loadfile "$root/bench/ask.lua"), setmetatable(globals, { __index = _G }))()
    return table.concat(lines, "\n")]], { url = url, files = table.concat(words, ", "),
      root = process.shell "pwd":match "^[^\n]+" })
end

local function ask_plain(files)
  local words = { arg[-1], "bench/ask.lua", url }
  for _, file in ipairs(files) do words[#words + 1] = file end
  for i, word in ipairs(words) do words[i] = process.quote(word) end
  return process.shell(table.concat(words, " ") .. " 2>&1")
end

--- The fewest seconds and the last peak of memory among the asks, the first one aside.
local function measure(ask, files)
  local text = ask(files)
  local fewest, peak, count = math.huge, nil, 0
  for seconds, kib in text:gmatch "([%d.]+) %d+ (%d+)" do
    count, peak = count + 1, tonumber(kib)
    if count > 1 then fewest = math.min(fewest, tonumber(seconds)) end
  end
  if count ~= #files then error(text, 0) end
  return fewest, peak
end

local small_ones, large_ones = {}, { small }
for i = 1, 5 do small_ones[i] = small end
for i = 1, TIMES do large_ones[i + 1] = large end

local _, before = measure(ask_nginx, small_ones)
local in_nginx, in_plain, after = math.huge, math.huge, nil
for _ = 1, rounds do
  local seconds
  seconds, after = measure(ask_nginx, large_ones)
  in_nginx = math.min(in_nginx, seconds)
  in_plain = math.min(in_plain, (measure(ask_plain, large_ones)))
end
server:stop()
print(("nginx %.4f plain %.4f ratio %.2f growth %d"):format(in_nginx, in_plain, in_nginx / in_plain, after - before))
