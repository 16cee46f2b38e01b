-- usage: [UPDATE=1] LUA bench/cost.lua      from the project's folder, by `make check-cost`, which builds what it needs
--
-- Counts what lmm costs its process: instructions, allocations and system calls of an ask, of 10,000 events, of base64.
-- valgrind's callgrind counts them; it needs no rights and hides what is special about a processor. A count more than
-- 5 % above the one in bench/limits.lua fails; UPDATE=1 writes what was counted into that file instead. Ends with
-- `N passed, N failed`. A row that would fail is skipped where other tools are here than the file names, and all of it
-- where valgrind is missing.
--
-- Each scenario runs twice, the second time with twice as much to do, and the difference counts: no start-up is in it.
-- bench/steady.c takes out what depends on speed. The environment is always the same, since addresses follow from it,
-- and from these the seed of Lua's hashes. The C library and base64 are held to code that every x86-64 has. Two runs of
-- an ask then differ by less than 0.01 %; those of a stream, whose bytes arrive in pieces of any size, by less than
-- 1 %. What callgrind wrote stays in $BUILT, for callgrind_annotate.
local limits_path = "bench/limits.lua"
local allowed = 1.05

local interpreter = arg[-1]
local built = os.getenv "BUILT" -- the folder of the programs that the Makefile compiled
local update = (os.getenv "UPDATE" or "") ~= ""

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- What a command prints, without the line's end; nil where it fails.
local function output(command)
  local run = assert(io.popen(command))
  local text = run:read "*a":gsub("%s+$", "")
  return run:close() and text or nil
end

-- How many units a run does, what one is called, and the arguments of bench/measure.lua for a run of `count`. How many
-- system calls a stream takes depends on how its bytes arrive, so only an ask's are compared.
local scenarios = {
  { name = "ask", unit = "an ask", count = 200, units = 200, kinds = { "instructions", "allocations", "system calls" },
    arguments = function(root, count) return ("asks %s/v1 %d 1 chat"):format(root, count) end },
  { name = "turn", unit = "an ask of a conversation", count = 200, units = 200,
    kinds = { "instructions", "allocations", "system calls" },
    arguments = function(root, count) return ("asks %s/v1 %d 1 conversation"):format(root, count) end },
  { name = "events", unit = "10,000 events", count = 10000, units = 1, kinds = { "instructions", "allocations" },
    arguments = function(root, count) return ("stream %s/stream/%d/280/v1 pieces"):format(root, count) end },
  { name = "encode", unit = "base64 of 1 MiB", count = 8, units = 8, kinds = { "instructions" },
    arguments = function(_, count) return ("encode %d"):format(count) end },
}

--- Calls of malloc, calloc and realloc in a file of callgrind's, without those that they make of each other. There a
--- function is `(number) name` the first time and `(number)` from then on.
local function count_allocations(profile)
  local allocates = { malloc = true, calloc = true, realloc = true }
  local names, caller, callee, count = {}, nil, nil, 0
  local function name_of(text)
    local number, name = text:match "^(%(%d+%)) ?(.*)$"
    if name ~= "" then names[number] = name:gsub("'%d+$", ""):gsub("^__libc_", "") end
    return names[number]
  end
  for key, value in profile:gmatch "\n(%l+)=([^\n]*)" do
    if key == "fn" then
      caller = name_of(value)
    elseif key == "cfn" then
      callee = name_of(value)
    elseif key == "calls" and allocates[callee] and not allocates[caller] then
      count = count + value:match "^%d+"
    end
  end
  return count
end

--- The counts of one run, from its start to its end.
local function run(name, arguments)
  local profile, log = built .. "/" .. name .. ".callgrind", built .. "/" .. name .. ".log"
  local command = table.concat({
    "env -i LD_PRELOAD=" .. quote("./" .. built .. "/steady.so"),
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS LMM_BASE64=ssse3",
    "LUA_PATH=" .. quote(os.getenv "LUA_PATH"), "LUA_CPATH=" .. quote(os.getenv "LUA_CPATH"),
    '"$(command -v valgrind)" --tool=callgrind --trace-syscalls=yes --callgrind-out-file=' .. quote(profile),
    "--log-file=" .. quote(log), ('"$(command -v %s)"'):format(quote(interpreter)), "bench/measure.lua", arguments,
  }, " ")
  if not output(command) then error(("failed, see also %s: %s"):format(log, command), 0) end
  local text = read(profile)
  local _, calls = read(log):gsub("\nSYSCALL%[[%d,]+%]%(%s*%d+%) [%w_]", "")
  local counts = { instructions = tonumber(text:match "\ntotals: (%d+)"), allocations = count_allocations(text),
    ["system calls"] = calls }
  assert(counts.instructions and counts.allocations > 0 and calls > 0, "callgrind writes otherwise than is known here")
  return counts
end

--- The counts of one unit.
local function measure(scenario, root)
  local once = run(scenario.name, scenario.arguments(root, scenario.count))
  local twice = run(scenario.name, scenario.arguments(root, 2 * scenario.count))
  local counts = {}
  for _, kind in ipairs(scenario.kinds) do
    counts[kind] = math.floor((twice[kind] - once[kind]) / scenario.units * 100 + 0.5) / 100
  end
  return counts
end

local function write_limits(tools, found)
  local lines = {
    "-- limits.lua: what `make check-cost` counted when run with UPDATE=1, which writes this file; 5 % more fail.",
    "return {",
    ("  tools = %q,"):format(tools),
  }
  for _, scenario in ipairs(scenarios) do
    local counts = {}
    for i, kind in ipairs(scenario.kinds) do
      counts[i] = ("[%q] = %.10g"):format(kind, found[scenario.unit][kind])
    end
    lines[#lines + 1] = ("  [%q] = { %s },"):format(scenario.unit, table.concat(counts, ", "))
  end
  local file = assert(io.open(limits_path, "w"))
  assert(file:write(table.concat(lines, "\n"), "\n}\n"))
  assert(file:close())
end

--- What the counts depend on, beside lmm.
local function list_tools()
  local compiler = os.getenv "CC" or "cc"
  return table.concat({
    output "uname -m", output(quote(interpreter) .. " -v"):match "^%S+ [%w.]+",
    (output(compiler .. " --version"):find "clang" and "clang " or "gcc ") .. output(compiler .. " -dumpversion"),
    output "curl-config --version", output "getconf GNU_LIBC_VERSION",
  }, ", ")
end

local function finish(passed, failed, skipped)
  print(("%d passed, %d failed%s"):format(passed, failed, skipped > 0 and (", %d skipped"):format(skipped) or ""))
  os.exit(failed == 0)
end

if not output "command -v valgrind" then
  print "check-cost needs valgrind, which is not here: skipped"
  finish(0, 0, 1)
end

-- The server ends with its standard input, which is this pipe.
local address = built .. "/cost.port"
os.remove(address)
local server = assert(io.popen(("%s >%s"):format(quote(built .. "/server"), quote(address)), "w"))
local port
repeat
  local file = io.open(address)
  port = file and file:read "*l"
  if file then file:close() end
until port
os.remove(address)

local tools, limits, found = list_tools(), update and {} or dofile(limits_path), {}
local passed, failed, skipped = 0, 0, 0
local same_tools = tools == limits.tools
print(("%-36s %14s %14s"):format("what it costs", "counted", "limit"))
for _, scenario in ipairs(scenarios) do
  local counts = measure(scenario, "http://127.0.0.1:" .. port)
  found[scenario.unit] = counts
  for _, kind in ipairs(scenario.kinds) do
    local limit = update and counts[kind] * allowed or limits[scenario.unit][kind] * allowed
    local verdict = ""
    if counts[kind] <= limit then
      passed = passed + 1
    elseif same_tools then
      failed = failed + 1
      verdict = ("FAILED: %.1f %% above %s"):format((counts[kind] / limit * allowed - 1) * 100, limits_path)
    else
      skipped = skipped + 1
      verdict = "skipped"
    end
    print(("%-36s %14.2f %14.2f  %s"):format(scenario.unit .. ": " .. kind, counts[kind], limit, verdict))
  end
end
server:close()
if update then
  write_limits(tools, found)
elseif skipped > 0 then
  print(("%s is for %s; here is %s"):format(limits_path, limits.tools, tools))
end
finish(passed, failed, skipped)
