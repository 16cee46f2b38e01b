-- usage: LUA bench/run.lua      from the project's folder, by `make bench`, which builds what this needs
--
-- Speed and memory as ratios, each measured side by side in this run: the two in turn, several rounds, the best of
-- each. Ends with a table; exits with 1 where a bound was missed.
local core = require "lmm.core"

local interpreter = arg[-1]
local built = os.getenv "BUILT" -- the folder of the programs that the Makefile compiled
local rows, missed = {}, false

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function output(command)
  local run = assert(io.popen(command))
  local text = run:read "*a"
  if not run:close() then error("failed: " .. command, 0) end
  return text
end

local function seconds_of(command)
  local before = core.now()
  output(command)
  return core.now() - before
end

--- Runs each of the functions in turn, `rounds` times; gives the least that each returned.
local function interleaved(rounds, fns)
  local best = {}
  for _ = 1, rounds do
    for i, fn in ipairs(fns) do best[i] = math.min(best[i] or math.huge, fn()) end
  end
  return best
end

-- Without a bound, for who wants to know.
local function tell(what, ratio)
  rows[#rows + 1] = string.format("%-66s %8.2f", what, ratio)
end

local function report(what, ratio, bound, at_least)
  local kept = at_least and ratio >= bound or not at_least and ratio <= bound
  missed = missed or not kept
  rows[#rows + 1] = string.format("%-66s %8.2f   at %s %-6g %s", what, ratio, at_least and "least" or "most ", bound,
    kept and "ok" or "MISSED")
end

-- ---- base64 ------------------------------------------------------------------------------------------------------

local kernels = output(quote(interpreter) .. " bench/base64.lua")
io.write(kernels, "\n")
report("base64: lmm / libb64", tonumber(kernels:match "lmm / libb64 *(%d+%.?%d*)"), 20, true)
local best = tonumber((kernels:match "lmm / pybase64 *(%d+%.?%d*)"))
if best then report("base64: lmm / pybase64", best, 0.8, true) end

-- ---- upload ------------------------------------------------------------------------------------------------------

-- A file of so many bytes; as large as it is, it holds no more than it must.
local function file_of(name, bytes, source)
  local path = built .. "/" .. name
  output("test -f " .. path .. " || " .. source:format(bytes, path))
  return path
end

local filled = "head -c %d /dev/urandom >%s"
local sparse = "truncate -s %d %s"
local large = file_of("200MB", 200 * 1000 * 1000, filled)
output("cat " .. large .. " >/dev/null")

-- The sink ends with its standard input, which is this pipe.
local address = os.tmpname()
local sink = assert(io.popen(built .. "/sink >" .. address, "w"))
local port
repeat
  local file = assert(io.open(address))
  port = file:read "*l"
  file:close()
until port
os.remove(address)
local url = "http://127.0.0.1:" .. port .. "/v1"

local function ask(...)
  return output(table.concat({ quote(interpreter), "bench/ask.lua", url, ... }, " "))
end

-- The least seconds of the exchanges that a command prints, a line each. The first does not count: it is with a small
-- file, for loading libcurl and opening the connection are not what is compared.
local function least(text)
  local fewest, first = math.huge, true
  for seconds in text:gmatch "([%d.]+)[^\n]*\n" do
    if not first then fewest = math.min(fewest, tonumber(seconds)) end
    first = false
  end
  return fewest
end

local small = file_of("1MB", 1000 * 1000, filled)
local times = 5 -- in each round

local function bare(buffer)
  local command = string.format("%s/bare %s/chat/completions %d %d", built, url, buffer, math.ceil(1000 * 1000 / 3) * 4)
  return least(output(command .. string.format(" %d", math.ceil(200 * 1000 * 1000 / 3) * 4):rep(times)))
end

local shell = "base64 -w0 " .. large .. [[ | jq -Rc '{model: "m", messages: [{role: "user", content: [{type: "text",
  text: "What is this?"}, {type: "image_url", image_url: {url: ("data:image/jpeg;base64," + .)}}]}]}' |
  curl -sS -H 'Content-Type: application/json' -H Expect: --data-binary @- ]] .. url .. "/chat/completions"
local upload = interleaved(7, {
  function() return least(ask(small .. (" " .. large):rep(times))) end,
  function() return bare(0) end,
  function() return bare(512 * 1024) end,
})
local whole = interleaved(2, {
  function() return seconds_of(table.concat({ quote(interpreter), "bench/ask.lua", url, large }, " ")) end,
  function() return seconds_of(shell) end,
})
print(string.format("200 MB upload: lmm %.3f s, libcurl alone %.3f s, with lmm's buffer %.3f s; as whole commands: " ..
  "lmm %.3f s, shell %.3f s\n", upload[1], upload[2], upload[3], whole[1], whole[2]))
report("upload of 200 MB: lmm / libcurl alone with the bytes ready", upload[1] / upload[2], 1.15)
tell("upload of 200 MB: the same, where libcurl is given lmm's 512 KiB buffer", upload[1] / upload[3])
report("upload of 200 MB: lmm / base64 | jq | curl", whole[1] / whole[2], 0.1)

-- ---- memory ------------------------------------------------------------------------------------------------------

local huge = file_of("1GB", 1000 * 1000 * 1000, sparse)
local peaks = {}
for peak in ask(small, small, small, small, huge):gmatch "(%d+)\n" do peaks[#peaks + 1] = tonumber(peak) end
print(string.format("most memory after 1 MB four times, then 1 GB: %s KiB\n", table.concat(peaks, ", ")))
-- The first asks load libcurl and find the heap that they need from then on.
report("memory: growth from a 1 MB to a 1 GB file, KiB", peaks[5] - peaks[4], 256)
sink:close()

-- ---- start -------------------------------------------------------------------------------------------------------

local function start(module)
  local command = "for i in 1 2 3 4 5 6 7 8 9 10; do %s -e 'require \"%s\"'; done"
  return seconds_of(command:format(interpreter, module))
end

local started = interleaved(15, { function() return start "lmm" end, function() return start "cjson" end })
report("start: " .. interpreter .. " with lmm / with cjson alone", started[1] / started[2], 1.2)
local maps = "%s -e 'require \"lmm\" io.write(io.open(\"/proc/self/maps\"):read \"*a\")'"
local loaded = output(maps:format(interpreter))
report("start: libcurl loaded by require \"lmm\" (0 no, 1 yes)", loaded:find "libcurl" and 1 or 0, 0)

-- ---- start in Neovim, where there is one ---------------------------------------------------------------------------

if output("command -v nvim; true") ~= "" then
  local editor = "nvim --headless -n -i NONE -u NONE --cmd 'set runtimepath^=.' --cmd 'lua %s' --cmd 'qa!'"
  local function start_editor(code)
    return seconds_of("for i in 1 2 3 4 5 6 7 8 9 10; do " .. editor:format(code) .. "; done")
  end
  local editors = interleaved(10, {
    function() return start_editor "require \"lmm\"" end,
    function() return start_editor "local nothing" end,
  })
  report("start: nvim with lmm / without, ms more", (editors[1] - editors[2]) / 10 * 1000, 5)
  loaded = output(editor:format "require \"lmm\" io.write(io.open(\"/proc/self/maps\"):read \"*a\")")
  report("start: libcurl loaded by nvim with lmm (0 no, 1 yes)", loaded:find "libcurl" and 1 or 0, 0)
end

print(table.concat(rows, "\n"))
os.exit(missed and 1 or 0)
