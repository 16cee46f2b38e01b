-- The user's configuration: what a file says, what is wrong in it and on which line, what it cannot do, whose it must
-- be; keys, templates, and the names that the commands take.
local cli = require "spec.support.cli"
local config = require "lmm.config"
local json = require "lmm.json"
local lmm = require "lmm"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local base = shell.output "mktemp -d":match "%S+"
local folder = base .. "/lmm"
local path = folder .. "/config.lua"
local server, program

setup(function()
  server = assert(mock.start { delay = 0, api_key = "sk-of-gpu" })
  program = cli.new { OPENAI_BASE_URL = "", OPENAI_API_KEY = "sk-other", XDG_CONFIG_HOME = base }
end)

teardown(function()
  server.stop()
  program.remove()
  shell.run("rm -rf %s", base)
end)

before_each(function() shell.run("rm -rf %s && mkdir -p %s/templates", folder, folder) end)

local answered, complained = cli.answered, cli.complained
local function run(...) return program.run(...) end

--- Writes the configuration, URL standing for the server's; gives its path.
local function write(text, name)
  return shell.write(folder .. "/" .. (name or "config.lua"), (text:gsub("URL", server.url)))
end

local GPU = 'servers = { gpu = { base_url = "URL", key = { command = "echo sk-of-gpu" } } }'

--- The problems of a file, as "line: keys: message".
local function problems(text, name)
  local read, why, line = config.read(write(text, name))
  if not read then return { ("%s: %s"):format(tostring(line), why) } end
  local list = {}
  for i, problem in ipairs(read.problems) do
    list[i] = config.describe("", problem):sub(2)
  end
  return list
end

describe("a configuration", function()
  it("is Lua or JSON, and says the same in both", function()
    local lua = write('local url = "http://gpu:1/v1"\nreturn { default = "fast", servers = { gpu = { base_url = '
      .. 'url } },\n'
      .. 'models = { fast = { server = "gpu", model = "m", params = { temperature = 0 } } }, templates = { t = '
        .. '"a {b}" } }')
    local in_json = write('{ "default": "fast", "servers": { "gpu": { "base_url": "http://gpu:1/v1" } }, "models": '
      .. '{ "fast":'
      .. ' { "server": "gpu", "model": "m", "params": { "temperature": 0 } } }, "templates": { "t": "a {b}" } }',
        "x.json")
    for _, file in ipairs { lua, in_json } do
      local read = assert(lmm.config(file))
      local client, params = read:connect "fast"
      assert.same({ "http://gpu:1/v1", { temperature = 0 }, { prompt = "a {b}" } }, { client.base_url, params,
        read.templates.t })
      assert.equal("http://gpu:1/v1", read:connect().base_url)
      assert.equal("http://gpu:1/v1", read:connect("gpu").base_url)
      assert.raises("there is no model and no server 'slow'", function() read:connect "slow" end)
    end
  end)

  for _, row in ipairs {
    { "a name that is none",
      "return {\n  servers = {\n    gpu = {\n      base_url = 'http://h/v1',\n      keyy = {} } } }",
      "5: servers.gpu.keyy: there is no 'keyy' here: did you mean 'key'?" },
    { "a name at the top", "return {\n\n  defaults = 'x' }", "3: defaults: there is no 'defaults' here: did you mean "
      .. "'default'?" },
    { "a wrong type", "return { models = {\n  m = {\n server = 1 } } }",
      "3: models.m.server: it must be a string, not a number" },
    { "a server that is not there", "return {\n models = { m = { model = 'x',\n server = 'gpu' } } }",
      "3: models.m.server: there is no server 'gpu' (there are none)" },
    { "a default that is not there", "return {\n\n  default = 'x' }",
      "3: default: there is no server and no model 'x'" },
    { "a URL that is none", "return { servers = { -- { }\n  ['a b'] = { base_url = [[gpu:80]] } } }",
      "2: servers.a b: base_url 'gpu:80' has no scheme: write http://gpu:80 or https://gpu:80" },
    { "a server without a URL", "return { servers = {\n a = {} } }", "2: servers.a: it has no base_url" },
    { "a key in the file", "return { servers = { a = { base_url = 'http://h/v1',\n key = 'sk-1' } } }",
      "2: servers.a.key: it must be a table, not a string" },
    { "a key at two places",
      "return { servers = { a = { base_url = 'http://h/v1',\n key = { env = 'A', file = 'b' } } } }",
      "2: servers.a.key: the key is kept at one place: give one of command, env and file" },
    { "a key nowhere", "return { servers = { a = { base_url = 'http://h/v1',\n key = {} } } }",
      "2: servers.a.key: it names no place where the key is kept: give one of command, env and file" },
    { "a command for a shell",
      "return { servers = { a = { base_url = 'http://h/v1', key = {\n command = 'a | b' } } } }",
      "2: servers.a.key.command: no shell runs it, so that | stands for itself: write the words as a list, as in "
      .. "{ \"pass\", \"show\", \"my key\" }" },
    { "a field that no JSON has", "return { models = { m = { params = {\n temperature = function() end } } } }",
      "2: models.m.params.temperature: the value is a function, which JSON cannot hold" },
    { "a field that is made", "return { models = { m = { params = {\n stream = true } } } }",
      "2: models.m.params.stream: 'stream' is made by what is asked" },
    { "a template without a prompt", "return { templates = {\n t = { system = 'x' } } }",
      "2: templates.t: it has no prompt" },
    { "a default for no hole", "return { templates = { t = { prompt = '{a}', defaults = {\n b = 'x' } } } }",
      "2: templates.t.defaults.b: the prompt has no hole {b}" },
    { "a name that is a number", "return { models = {\n [2] = {} } }",
      "1: models.2: a name is a string, not a number" },
    { "Lua that is none", "return {\n  a = = 1 }", "2: unexpected symbol near '='" },
    { "an error of its own", "\nerror 'mine'", "2: mine" },
    { "what is no table", "return 1", "nil: it gives a number, not a table" },
    { "JSON that is none", '{ "a": [1,\n 2,, 3] }', "2: a value expected at byte 15 of the JSON, not ,", "x.json" },
    { "a name in JSON", '{ "servers": {\n "a": { "base_url": "http://h/v1",\n "kex": 1 } } }',
      "3: servers.a.kex: there is no 'kex' here: did you mean 'key'?", "x.json" },
  } do
    it("names " .. row[1] .. " and its line", function() assert.same({ row[3] }, problems(row[2], row[4])) end)
  end

  it("names all that is wrong, in the order of the lines", function()
    local list = problems "return {\n servers = { a = {\n base_url = 1 } },\n defaultt = 'x',\n models = { m = 1 } }"
    assert.same({ "3: servers.a.base_url: it must be a string or table, not a number", "4: defaultt: there is no "
      .. "'defaultt' here: did you mean 'default'?", "5: models.m: it is a number, not a table" }, list)
    local _, message, err = lmm.config(path)
    assert.equal(path .. ":3: servers.a.base_url: it must be a string or table, not a number (and 2 more: `lmm config` "
      .. "tells all)", message)
    assert.equal("invalid", err.kind)
  end)

  it("cannot reach the machine", function()
    local read = assert(config.read(write("return { default = type(os) .. type(io) .. type(require) .. type(debug) .. "
      .. "type(load) .. type(getmetatable) .. type(_G) .. type(pcall) .. type(package) }")))
    assert.equal(("nil"):rep(9), read.default)
  end)

  it("ends, and leaves what is the caller's alone", function()
    assert.same({ "1: it does not end" }, problems "while true do end")
    assert.same({ "2: it does not end" }, problems "local function f()\n return f() end return f()")
    local hook = debug.gethook()
    assert.same({}, problems "string.format = nil table.insert = nil math = nil x = 1 return {}")
    assert.same({ "string", "function", "table", nil }, { type(("%d"):format(1)), type(table.insert), type(math),
      rawget(_G, "x") })
    assert.equal(hook, (debug.gethook()))
    assert.matches("it is compiled", problems(string.dump(function() end))[1])
  end)

  it("can be interrupted, which is no fault of it", function()
    write "while true do end" -- for half a second of the processor
    local said = shell.output(("XDG_CONFIG_HOME=%s %s bin/lmm config 2>&1 & pid=$!\n"
      .. "until [ \"$(cut -d' ' -f14 /proc/$pid/stat)\" -ge 10 ]; do :; done\n" -- a fifth of it
      .. "kill -INT $pid; wait $pid; echo $?"):format(base, shell.quote(arg[-1])))
    assert.equal("130\n", said)
    local settings = require("lmm.call").settings
    local kept = settings.of_client
    finally(function() settings.of_client = kept end)
    settings.of_client = function() error("lua/lmm/call/settings.lua:1: interrupted!", 0) end
    assert.raises("interrupted!$", config.read, write("return { " .. GPU .. " }"))
  end)

  it("ends, whatever it calls", function()
    local doubled = "local s, t = 'a', {} for i = 1, 20 do s = s .. s t[i] = s end\n"
    for text, problem in pairs {
      ["return { default = ('a'):rep(1e9) }"] = "1: string.rep is nothing for a configuration, "
        .. "which may use: string.byte, string.char, string.format, string.len, string.lower, "
        .. "string.reverse, string.sub, string.upper",
      ["return { (('a'):len() == 1 and ('aaaa'):find('.-.-.-.-b')) }"] = "1: string.find is nothing for a .*",
      ["\nlocal t = {}\ntable.sort(t)"] = "3: table.sort is nothing for a .*: table.concat, table.insert, "
        .. "table.remove.*",
      ["local s = ('a').gsub"] = "nil: it gives a nil, not a table", -- not to be had is not to be called
      ["local s = 'a' while true do s = s .. s end"] = "1: it takes more than 16 MiB",
      [doubled .. "s = s:sub(1, 9999) while true do t[#t + 1] = s .. #t end"] = "2: it takes more than 16 MiB",
      [doubled .. "for i = 1, 1000 do t[i] = s end\nlocal c = table.concat(t)"] = "3: it takes more than 16 MiB",
      [doubled .. "local c = s.format('%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s', s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s)"]
        = "2: it takes more than 16 MiB",
      ["local t = {} for i = 1, 1e4 do t[i] = 0 end\nwhile true do table.insert(t, 1, table.remove(t)) end"]
        = "2: it does not end",
      ["local t = { [2 ^ 53] = 'x' }\nlocal c = table.concat(t, '', 2 ^ 53, 2 ^ 60) error 'over'"] = "2: .*",
      ["\nlocal c = table.concat(nil)"] = "2: bad argument #1 to 'concat' %(table expected, got nil%)",
      ["\nlocal c = table.concat({ 1, {} }, ',')"] = "2: invalid value %(table%) at index 2 in table for 'concat'",
      ["\nlocal c = table.concat({ 1, 2 }, {})"] = "2: bad argument #2 to 'concat' %(string expected, got table%)",
      ["\nlocal s = ('%d'):format('x')"] = "2: bad argument #%d to 'format' %(number expected, got string%)",
    } do
      assert.matches("^" .. problem .. "$", problems(text)[1])
      assert.equal(3, ("aab"):find "b") -- the caller's strings are as they were
    end
    local text = "return { templates = { t = ('%s %d'):format('x', 1), u = table.concat({ 1, 'B' }, '-'):lower() } }"
    local read = assert(config.read(write(text)))
    assert.same({ t = { prompt = "x 1" }, u = { prompt = "1-b" } }, read.templates)
  end)

  it("is refused where others can write it or its folder", function()
    write("return {}")
    assert(lmm.config(path))
    for _, row in ipairs { { path, "g+w", "it" }, { path, "o+w", "it" }, { folder, "g+w", "its folder" } } do
      shell.run("chmod %s %s", row[2], row[1])
      local _, message = lmm.config(path)
      assert.matches("others can write " .. row[3]
        .. ", and so have your keys sent anywhere: make it your own, and chmod "
        .. "go%-w '" .. row[1]:gsub("%p", "%%%0") .. "'", message)
      shell.run("chmod go-w %s", row[1])
    end
    assert(lmm.config(path))
  end)

  it("is one file, and it is there", function()
    assert.matches("there is no configuration at '/nowhere/lmm/config.lua'", select(2, lmm.config()))
    assert.matches("No such file", select(2, lmm.config(path)))
    write "return {}"
    write("{}", "config.json")
    complained(run { "ask", "q" }, 1, "there are two configurations, '" .. path:gsub("%p", "%%%0") .. "' and '")
  end)
end)

describe("a key", function()
  --- What a client of the server says when it is asked for its models, the key being kept so.
  local function models(key)
    write(('return { servers = { gpu = { base_url = "URL", key = %s } } }'):format(key))
    local list, message = assert(lmm.config(path)):connect("gpu"):models()
    return list and list[1].id or message
  end

  it("comes from a command, the environment or a file", function()
    local file = shell.write(base .. "/key", "sk-of-gpu\nand more\n")
    assert.equal("mock", models '{ command = "echo sk-of-gpu" }')
    assert.equal("mock", models '{ command = { "printf", "%s\\n", "sk-of-gpu", "second line" } }')
    assert.equal("mock", models '{ command = { "sh", "-c", "cat; printf sk-of-gpu" } }') -- it is given no input
    assert.equal("mock", models(("{ file = %q }"):format(file)))
    write 'return { servers = { gpu = { base_url = "URL", key = { env = "LMM_SPEC_KEY" } } } }'
    assert.equal("mock\n", answered(run({ "models", "--server", "gpu" }, nil, { LMM_SPEC_KEY = "sk-of-gpu" })))
  end)

  it("is run by no shell, and once", function()
    local count = base .. "/count"
    write(('return { servers = { gpu = { base_url = "URL", key = { command = { "sh", "-c", "echo x >>%s; echo '
      .. 'sk-of-gpu" } } } } }'):format(count))
    local client = assert(lmm.config(path)):connect "gpu"
    assert(client:models())
    assert(client:models())
    assert.equal("x\n", shell.read(count))
    assert.matches("HTTP 401", models "{ command = { 'echo', '$(echo sk-of-gpu)', ';', '`id`' } }")
  end)

  it("that cannot be had is told without what was printed", function()
    for key, pattern in pairs {
      ['{ command = { "sh", "-c", "echo sk-secret; exit 3" } }'] = "the command 'sh' ended with status 3$",
      ['{ command = "lmm-no-such-command" }'] = "the command 'lmm%-no%-such%-command' is not there$",
      ['{ command = { "sh", "-c", "echo a]; echo []; exit 3" } }'] = "the command 'sh' ended with status 3$",
      ['{ command = { "sh", "-c", "kill -INT $PPID $$" } }'] = "the command 'sh' was interrupted$",
      ['{ command = "true" }'] = "the command 'true' printed nothing$",
      ['{ command = "yes" }'] = "the command 'yes' prints more than 65536 bytes$",
      ['{ env = "LMM_NO_SUCH" }'] = "the variable LMM_NO_SUCH is not set$",
      ['{ file = "/nowhere/key" }'] = "cannot read /nowhere/key: No such file or directory$",
    } do
      assert.matches(pattern, models(key))
    end
  end)

  it("of a command that is not there is told in one sentence", function()
    write 'return { servers = { gpu = { base_url = "URL", key = { command = "lmm-no-such-command" } } } }'
    complained(run { "models", "--server", "gpu" }, 1, "^lmm: [^\n]*'lmm%-no%-such%-command' is not there[^\n]*\n?$")
  end)

  it("is not waited for without end, whatever the command has started", function()
    local keys = require "lmm.config.key"
    local timeout = keys.timeout
    finally(function() keys.timeout = timeout end)
    keys.timeout = 0.25
    assert.matches("the command 'sh' took longer than 0.25 seconds$",
      models(('{ command = { "sh", "-c", "sleep 600 2>/dev/null & echo $! >%s; wait" } }'):format(base .. "/pid")))
    shell.run("kill $(cat %s)", base .. "/pid")
  end)

  it("of the environment goes to no server of the file", function()
    write 'return { servers = { gpu = { base_url = "URL" } } }'
    complained(run({ "models", "--server", "gpu" }, nil, { OPENAI_API_KEY = "sk-of-gpu" }), 1, "HTTP 401")
  end)
end)

describe("a template", function()
  local function fill(prompt, values, more)
    local template = { prompt = prompt, defaults = more }
    local filled, problem = config.fill(template, values)
    return filled and filled.prompt or problem
  end

  for _, row in ipairs {
    { "{a} and {b-c}{a}", { a = "1", ["b-c"] = "{a}" }, "1 and {a}1" },
    { 'as {"a": 1}, {}, { a }, {1}', {}, 'as {"a": 1}, {}, { a }, {1}' },
    { "{{a}} {{}} }} {", {}, "{a} {} } {" },
    { "{a} {b}", { b = "2" }, "1 2", { a = "1" } },
    { "{b} {a} {c}", { b = "2" }, "nothing fills {a}, {c}" },
    { "{a}", { a = "1", d = "2" }, "there is no hole {d}" },
    { "{a}", { a = "%1 %%" }, "%1 %%" },
  } do
    it(row[1] .. " becomes " .. row[3], function() assert.equal(row[3], fill(row[1], row[2], row[4])) end)
  end
end)

describe("the command", function()
  it("knows models and servers by name, and the default where nothing else names a server", function()
    write("return { default = 'fast', " .. GPU .. [[,
      models = { fast = { server = "gpu", model = "mock", params = { mock = { reply = "configured" } } } } }]])
    assert.equal("configured\n", answered(run { "ask", "q" }))
    assert.equal("configured\n", answered(run { "ask", "-m", "fast", "q" }))
    assert.equal("mine\n", answered(run { "ask", "-m", "fast", "-p", 'mock={"reply":"mine"}', "q" }))
    assert.equal("question: q\n", answered(run { "ask", "--server", "gpu", "q" }))
    assert.equal("mock\n", answered(run { "models" }))
    assert.matches("^%[", answered(run { "embed", "--server", "gpu", "text" }))
    local nowhere = { OPENAI_BASE_URL = "http://127.0.0.1:9/v1" }
    complained(run({ "ask", "q", "-p", "retry=false" }, nil, nowhere), 1, "127.0.0.1:9")
    complained(run { "ask", "q", "-p", "retry=false", "--url", "http://127.0.0.1:9/v1" }, 1, "127.0.0.1:9")
    assert.equal("configured\n", answered(run({ "ask", "-m", "fast", "q" }, nil, nowhere)))
    complained(run { "ask", "-m", "other", "q" }, 1, "other")
    complained(run { "ask", "--server", "gpux", "q" }, 2, "there is no server 'gpux' in [^\n]* %(there are: gpu%)")
    complained(run { "ask", "--server", "gpu", "--url", server.url, "q" }, 2, "both say which server it is")
  end)

  it("compares models of the configuration in a grid, each at its server and with its fields", function()
    local count = folder .. "/count"
    local other = assert(mock.start { delay = 0, model = "large" })
    write((([[return { default = "fast", servers = {
        gpu = { base_url = "URL", key = { command = { "sh", "-c", "echo x >>'COUNT'; echo sk-of-gpu" } } },
        open = { base_url = "%s" } },
      models = { fast = { server = "gpu", model = "mock", params = { mock = { reply = "configured" } } },
        warm = { server = "gpu", model = "mock", params = { mock = { reply = "warm" } } },
        big = { server = "open", model = "large" } } }]]):format(other.url):gsub("COUNT", count)))
    local function grid(...)
      local words = { "grid", "--prompt", "q", "-o", folder .. "/page.html", "--no-log", "--json", "-", ... }
      local texts, models = {}, {}
      for _, cell in ipairs(json.decode(program.run(words).out).cells) do
        texts[#texts + 1] = cell.answer and cell.answer.text or cell.missing or cell.error.message
        models[#models + 1] = cell.model
      end
      return texts, models
    end
    local texts, models = grid("-m", "fast", "-m", "warm", "-m", "big", "-m", "mock")
    assert.same({ "configured", "warm", "question: q", "question: q" }, texts)
    assert.same({ "fast", "warm", "big", "mock" }, models)
    assert.equal("x\n", shell.read(count)) -- one client, and so one key, for all models of a server
    assert.same({ "mine", "mine" }, (grid("-m", "fast", "-m", "warm", "-p", 'mock={"reply":"mine"}')))
    assert.same({ "configured" }, (grid()))
    assert.same({ "question: q" }, (grid("--server", "open", "-m", "large")))
    other.stop()
  end)

  it("without a configuration takes names as the server's own", function()
    shell.run("rm -rf %s", folder)
    answered(run { "ask", "-m", "mock", "q", "--url", server.url, "-H", "Authorization: Bearer sk-of-gpu" })
    complained(run { "ask", "--server", "gpu", "q" }, 2, "there is none at " .. path:gsub("%p", "%%%0"))
  end)

  it("fills templates", function()
    write("return { " .. GPU .. [[, default = "gpu", templates = {
      review = "Review this {language}:\n{stdin}",
      brief = { prompt = "Say {what}.", defaults = { what = "it" }, params = { mock = { reply = "templated" } } } } }]])
    local file = shell.write(folder .. "/templates/filed.md", "Is {question} true?\n")
    local function asked(words, input) return answered(run(words, input)) end
    assert.equal("question: Review this Lua:\nx = 1\n", asked({ "ask", "-t", "review", "-D", "language=Lua" },
      "x = 1\n"))
    assert.equal("question: Review this Lua:\nx\n\nNow.\n", asked({ "ask", "-t", "review", "-D", "language=Lua",
      "Now." },
      "x"))
    assert.equal("templated\n", asked { "ask", "-t", "brief" })
    assert.equal("question: Is it @so true?\n", asked { "ask", "-t", "filed", "it @so" })
    complained(run({ "ask", "-t", "review" }, "x"), 2,
      "the template 'review': nothing fills {language} %(%-D NAME=TEXT")
    complained(run { "ask", "-t", "brief", "-D", "a=b" }, 2, "there is no hole {a}")
    complained(run { "ask", "-t", "none" }, 2,
      ("lmm: there is no template 'none', neither in %s nor as %s/templates/none.txt\n"):format(path, folder):gsub("%-",
        "%%-") .. "$")
    complained(run { "ask", "-t", "../x" }, 2, "a template's name has letters")
    complained(run { "ask", "-D", "a=b", "q" }, 2, "%-D fills a template")
    complained(run { "ask", "-t", "review", "-D", "x", "q" }, 2, "%-D takes name=value, not 'x'")
    complained(run { "ask", "-t", "review", "-D", "language=Lua", "-i", "-" }, 2,
      "cannot both come from standard input")
    shell.run("chmod o+w %s", file)
    complained(run { "ask", "-t", "filed", "q" }, 2, "others can write '")
  end)

  it("asks again where it was asked, with that server's key, not at the default", function()
    if not require "lmm.log".is_installed() then pending "there is no lua-sql-sqlite3" end
    write("return { default = 'off', " .. GPU:sub(1, -2) .. ", off = { base_url = 'http://127.0.0.1:9/v1' } } }")
    local env = { LMM_LOG = base .. "/log.sqlite" }
    assert.equal("question: q\n", answered(run({ "ask", "--server", "gpu", "q" }, nil, env)))
    assert.equal("question: q\n", answered(run({ "ask", "--again", "1" }, nil, env)))
    complained(run({ "ask", "--again", "1", "-p", "retry=false", "--server", "off" }, nil, env), 1, "127.0.0.1:9")
  end)

  it("lmm config shows it, without a key, and what is wrong", function()
    write("return { default = 'fast', " .. GPU .. ",\n models = { fast = { server = 'gpu', params = { seed = 1 } } },\n"
      .. " templates = { t = 'Say {what}' } }")
    shell.write(folder .. "/templates/filed.txt", "From a file")
    local shown = answered(run { "config" })
    for _, pattern in ipairs { "^" .. path:gsub("%p", "%%%0") .. "\n", "gpu +" .. server.url:gsub("%p", "%%%0")
      .. "  %(key by command echo sk%-of%-gpu%)", "fast +the first that is listed at gpu  seed=1  %[default%]",
      "filed +From a file\n", "t +Say {what}\n" } do
      assert.matches(pattern, shown)
    end
    assert.equal("filed\nt\n", answered(run { "config", "--list", "templates" }))
    assert.equal("gpu\n", answered(run { "config", "--list", "servers" }))
    assert.equal(path .. "\n", answered(run { "config", "--path" }))
    write "return {\n a = 1,\n b = 2 }"
    local wrong = run { "config" }
    assert.same({ 1, ("lmm: %s:2: a: there is no 'a' here (there are: default, models, servers, "
      .. "templates)\nlmm: %s:3: b: "
      .. "there is no 'b' here (there are: default, models, servers, templates)\n"):format(path, path) },
      { wrong.status, wrong.err })
    write "return { models = { { server = 'x' }, m = 3 } }"
    wrong = run { "config" }
    assert.matches("\n   1  +the first that is listed at x\n   m  +3\n", wrong.out)
    assert.matches("models.1: a name is a string", wrong.err)
    assert.equal("1\nm\n", answered(run { "config", "--list", "models" }))
    shell.run("rm -r %s", folder)
    complained(run { "config" }, 1, "there is no configuration at ")
  end)
end)
