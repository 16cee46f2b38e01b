-- The examples run as they stand, with the built-in server where a model's would be.
local mock = require "lmm.mock"
local process = require "spec.support.process"
local test = require "spec.support.test"

local LUA = arg[-1]
local folder = process.shell "mktemp -d":match "%S+"
local quote = process.quote

--- A program in a folder of its own, as `name`; the script is a shell's.
local function program(name, script)
  os.execute(("mkdir -p %s/bin"):format(folder))
  local path = process.write(folder .. "/bin/" .. name, "#!/bin/sh\n" .. script .. "\n")
  os.execute("chmod +x " .. path)
  return path
end

--- Runs a shell command with these programs in its path; gives what it printed, its errors and its status apart.
local function run(command)
  local errors = folder .. "/errors"
  local text = process.shell(("PATH=%s/bin:$PATH; %s 2>%s; echo \"status $?\""):format(folder, command, errors))
  local out, status = text:match "^(.*)status (%d+)\n$"
  return out, process.read(errors), tonumber(status)
end

local sum = process.shell "sha256sum examples/picture.jpg":match "%x+"
local PICTURE = "image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes, sha256 " .. sum .. "\n"

test.case("describe.lua", function()
  local server = assert(mock.start { delay = 0 })
  local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/describe.lua"):format(server.url, quote(LUA)))
  test.equal({ out, errors, status }, { PICTURE .. "question: What is shown in the image?\n", "", 0 })
  server.stop()
  out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/describe.lua"):format(server.url, quote(LUA)))
  test.equal({ out, status }, { "", 1 })
  test.match(errors, ": cannot reach [^\n]*\n")
end)

test.case("demo.lua", function()
  local out, errors, status = run(quote(LUA) .. " examples/demo.lua")
  test.equal({ errors, status }, { "", 0 })
  test.ok(out:find(PICTURE .. "question: What is shown in the image?\n", 1, true), out)
  test.match(out, "file: +" .. sum .. "\n[^\n]*server: +" .. sum .. "\nThe same bytes%.")
end)

test.case("compare.lua", function()
  local one, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0 })
  local command = "OPENAI_BASE_URL=%s %s examples/compare.lua examples/picture.jpg %s %s"
  local answer = PICTURE:gsub("%p", "%%%0") .. "question: What is shown in the image%? Answer in one sentence%.\n"
  local out, errors, status = run(command:format(one.url, quote(LUA), "mock", other.url .. "=mock"))
  test.equal({ errors, status }, { "", 0 })
  test.match(out, "^== mock, %d+%.%d s\n" .. answer .. "== http[^\n]*=mock, %d+%.%d s\n" .. answer .. "$")
  out, errors, status = run(command:format(one.url, quote(LUA), "mock", "none"))
  test.equal({ errors, status }, { "", 1 })
  test.match(out, "== none\nfailed: HTTP 404 [^\n]*none")
  for _, word in ipairs { other.url, other.url .. "=" } do
    out, errors, status = run(command:format(one.url, quote(LUA), "mock", word))
    test.equal({ errors, status }, { "", 0 })
    test.match(out, "\n== " .. word:gsub("%p", "%%%0") .. ", %d+%.%d s\n" .. answer .. "$")
  end
  one.stop()
  other.stop()
end)

test.case("compare.lua without two models, or a picture", function()
  for _, words in ipairs { "", "examples/picture.jpg", "examples/picture.jpg a", "a b '' ''" } do
    local out, errors, status = run(quote(LUA) .. " examples/compare.lua " .. words)
    test.equal({ out, status }, { "", 2 })
    test.match(errors, "^usage: compare.lua PICTURE [^\n]*\n$")
  end
  local out, errors, status = run(quote(LUA) .. " examples/compare.lua none.jpg a b")
  test.equal({ out, errors, status }, { "", "cannot read 'none.jpg': No such file or directory\n", 1 })
end)

test.case("folder.lua", function()
  local server = assert(mock.start { delay = 0 })
  local pictures = folder .. "/it's pictures"
  os.execute("mkdir " .. quote(pictures))
  os.execute("cp examples/picture.jpg " .. quote(pictures .. "/a.jpg"))
  os.execute("cd " .. quote(pictures) .. " && cp a.jpg b.JPEG && echo x >c.png")
  local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/folder.lua %s Why?"):format(server.url, quote(LUA),
    quote(pictures)))
  local lines = {}
  for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
  table.sort(lines)
  local answer = "\t" .. PICTURE:gsub("\n", " ") .. "question: Why?"
  test.equal({ lines, status }, { { "a.jpg" .. answer, "b.JPEG" .. answer }, 1 })
  test.match(errors, "^c%.png: [^\n]*\n$")
  server.stop()
  local problems = {
    { folder .. "/none", "^cannot read [^\n]*/none[^\n]*: No such file or directory\n$" },
    { "examples/picture.jpg", "^cannot read [^\n]*: Not a directory\n$" },
    { "spec", "^no pictures in spec\n$" },
    { quote(pictures), "^cannot reach [^\n]*\n$" },
  }
  for _, row in ipairs(problems) do
    out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/folder.lua %s"):format(server.url, quote(LUA), row[1]))
    test.equal({ out, status }, { "", 1 })
    test.match(errors, row[2])
  end
end)

test.case("luv_server.lua", function()
  local server = assert(mock.start { delay = 0 })
  local log = folder .. "/front"
  local pid = process.shell(("OPENAI_BASE_URL=%s %s examples/luv_server.lua 0 >%s 2>&1 & echo $!"):format(server.url,
    quote(LUA), log)):match "%d+"
  local url = process.wait_for("the front", function() return (process.read(log) or ""):match "listening on (%S+)" end)
  local out, errors = run("env -u LD_PRELOAD curl -sS --data-binary @examples/picture.jpg " .. url)
  test.equal({ out, errors }, { PICTURE .. "question: What is shown in the image?\n", "" })
  test.match((run("env -u LD_PRELOAD curl -sS --data-binary nonsense " .. url)), "no known type")
  local curl = "env -u LD_PRELOAD curl -sS -m 30 -o /dev/null -w '%{http_code}' "
  test.equal((run(curl .. "--data-binary nonsense " .. url)), "400")
  test.equal((run(curl .. "-H 'Transfer-Encoding: chunked' --data-binary x " .. url)), "411")
  test.equal((run(curl .. "-H 'Transfer-Encoding: chunked' -H 'Content-Length: 5' --data-binary x " .. url)), "411")
  test.equal((run(curl .. "-H 'Content-Length: 99999999' --data-binary x " .. url)), "413")
  test.equal((run(curl .. url)), "405")
  local long = process.write(folder .. "/long", "X: " .. ("x"):rep(70000))
  test.equal((run(curl .. "--data-binary x -H @" .. long .. " " .. url)), "431")
  out, errors = run(quote(LUA) .. " examples/luv_server.lua " .. url:match "%d+$")
  test.equal(out, "")
  test.match(errors, "^cannot listen on port %d+: EADDRINUSE[^\n]*\n$")
  os.execute("kill " .. pid)
  server.stop()
end)

test.case("luv_server.lua, a PORT that is none", function()
  for _, words in ipairs { "nonsense", "-1", "8080.5", "65536", "''", "0 0" } do
    local out, errors, status = run("timeout 10 " .. quote(LUA) .. " examples/luv_server.lua " .. words)
    test.equal({ out, errors, status }, { "", "usage: luv_server.lua [PORT]\n", 2 })
  end
end)

-- Stands where vLLM does: notes how it was called, and as which process.
local called = folder .. "/called"
local MOCK = ('echo $$ "$@" >%s; exec %s bin/lmm mock --delay 0 "$@"'):format(called, quote(LUA))
program("server", MOCK)
program("vllm", 'shift; . ' .. folder .. "/bin/server")
program("apptainer", 'echo "$@" >' .. folder .. "/container; shift 5; . " .. folder .. "/bin/server")

local CACHED = "/cache/hub/models--Org--A-Name--2/snapshots/0123abc"
local ANSWER = "^model: Org/A%-Name%-%-2\n" .. PICTURE:gsub("%p", "%%%0") .. "question: What is shown in the image%?\n"
  .. PICTURE:gsub("%p", "%%%0") .. "image 2: by URL https://[^\n]*\nquestion: And what is shown in this one%?\n"
  .. "turn 2, after 2 messages\n$"

local ways = {
  { "with vllm", quote(LUA) .. " examples/serve_and_ask.lua " .. CACHED },
  { "with another command", quote(LUA) .. " examples/serve_and_ask.lua " .. CACHED .. " server" },
  { "as a job", ("LUA=%s MODEL=%s bash examples/serve_and_ask.sbatch"):format(quote(LUA), CACHED) },
  { "as a job with a container", ("LUA=%s MODEL=%s IMAGE=vllm.sif bash examples/serve_and_ask.sbatch"):format(
    quote(LUA), CACHED), "exec --nv vllm.sif vllm serve " .. CACHED },
}

for _, row in ipairs(ways) do
  test.case("serve_and_ask " .. row[1], function()
    local out, errors, status = run("export SLURM_GPUS_ON_NODE=4; " .. row[2])
    test.equal(status, 0, errors)
    test.match(out, ANSWER)
    test.match((errors:gsub("%u+ /%S+ %d+\n", "")), "^lmm mock: listening on [^\n]*\n$")
    local pid, words = process.read(called):match "^(%d+) (.*)$"
    test.match(words, "^" .. CACHED:gsub("%p", "%%%0") .. " %-%-served%-model%-name Org/A%-Name%-%-2 .*"
      .. "%-%-tensor%-parallel%-size 4 .*%-%-port %d+\n$")
    test.equal(process.group(pid), {})
    if row[3] then test.equal(process.read(folder .. "/container"):sub(1, #row[3]), row[3]) end
  end)
end

test.case("serve_and_ask takes a model's name as it is, and one GPU where Slurm tells of none", function()
  local out, errors, status = run("unset SLURM_GPUS_ON_NODE; " .. quote(LUA) .. " examples/serve_and_ask.lua org/name")
  test.equal(status, 0, errors)
  test.match(out, "^model: org/name\n")
  test.match(process.read(called), "%-%-tensor%-parallel%-size 1 ")
end)

test.case("serve_and_ask says why there is no server", function()
  local out, errors, status = run(quote(LUA) .. " examples/serve_and_ask.lua org/name server --fail-start")
  test.equal({ out, status }, { "", 1 })
  test.match(errors, "the server 'server' ended with exit code 1 .*CUDA out of memory.*too little memory")
end)

test.case("serve_and_ask is short, and the job script is sound", function()
  local _, count = process.read "examples/serve_and_ask.lua":gsub("\n", "")
  test.ok(count <= 40, count .. " lines")
  test.equal(process.shell "bash -n examples/serve_and_ask.sbatch 2>&1", "")
end)

test.case("make names what is missing, and builds nothing", function()
  local command = "env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory core VARIANT=-none "
  for _, missing in ipairs { "LUA_INCDIR=/none", "CC=/none/cc" } do
    local out, errors, status = run(command .. missing)
    test.equal({ out, status }, { "", 2 })
    test.match(errors, "^needed: %S+ lauxlib.h b64/cencode.h; on Debian: apt install gcc [^\n]*libb64%-dev\n"
      .. "make: [^\n]*\n$")
  end
  test.equal(process.shell "ls -d build/*-none 2>/dev/null", "")
end)

os.execute("rm -rf " .. quote(folder))
