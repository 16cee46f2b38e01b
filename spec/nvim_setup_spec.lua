-- How the plugin gets into real editors: by a plugin manager, by hand, without settings, and with what is wrong.
local guides = require "spec.support.guides"
local nvim = require "spec.support.nvim"
local plugin = require "spec.support.nvim_plugin"
local shell = require "spec.support.shell"

local folder

-- The guide's examples: for a plugin manager, for the init.lua of an installation by hand, and a task.
local examples = guides.code("doc/neovim.md", "lua nvim")

--- A case in each editor.
local function each(name, fn)
  for _, editor in ipairs(nvim.editors()) do
    it(name .. " (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      fn(editor)
    end)
  end
end

--- A case in each editor, with a plugin in a folder that `make` makes, settings, and no server.
local function case(name, make, init, fn)
  each(name, function(editor)
    plugin.run({ program = editor.program, plugin = make(), init = init }, nil, fn)
  end)
end

local function built() return folder end

local function nowhere() return "/nowhere" end

local function health(ed)
  return ed:lua "vim.cmd 'checkhealth lmm.nvim' return table.concat(vim.fn.getline(1, '$'), '\\n')"
end

--- Uses every command that needs a server; each is to tell one message, which matches, and to change nothing.
local function check_commands(ed, pattern)
  assert.same({}, ed:lua "return vim.fn.getcompletion('LmmModel ', 'cmdline')")
  ed:keys ":LmmNew<CR>:LmmModel<CR>:Lmm q<CR>:Lmm! again<CR>:LmmReplace it<CR>:LmmStop<CR>"
  ed:wait_for("the messages", "return #said >= 5")
  for _, row in ipairs(ed:lua "return said") do assert.matches(pattern, row[1]) end
  assert.same({ 5, 1, 1 }, ed:lua "return { #said, #vim.api.nvim_list_wins(), vim.fn.line '$' }")
end

--- Does what lazy.nvim does with an entry: the folder first in 'runtimepath', its plugin/ sourced, and `setup` called.
local LAZY = [[
local entry = (function() %s end)()
assert(entry.build == "make nvim")
vim.opt.runtimepath:prepend(%q)
for _, file in ipairs(vim.fn.glob(%q .. "/plugin/**/*.lua", true, true)) do vim.cmd.source(file) end
require(entry.main).setup(vim.tbl_extend("force", entry.opts, { model = "m" }))]]

describe("the plugin is set up", function()
  setup(function() folder = nvim.plugin() end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  each("by the guide's entry for a plugin manager", function(editor)
    local code = LAZY:format(examples[1], folder, folder):gsub("vim%.cmd%.source%(file%)", "vim.cmd('source ' .. file)")
    local opts = { program = editor.program, plugin = "/nowhere", init = "" }
    plugin.run(opts, { plugin.answer "ok" }, function(ed, server)
      ed:lua(code)
      ed:keys ":Lmm q<CR>"
      plugin.wait_split(ed, "ok")
      local _, messages, body = plugin.sent(server, 1)
      assert.equal("Answer in one sentence.", messages[1].content)
      assert.matches('"temperature":0[,}]', body)
    end)
  end)

  each("by the guide's lines for a clone among the packages", function(editor)
    for _, kind in ipairs { "start", "opt" } do
      local home = os.tmpname()
      local packages = home .. "/nvim/site/pack/lmm/" .. kind
      shell.run("rm %s; mkdir -p %s && ln -s %s %s/lmm", home, packages, folder, packages)
      shell.write(home .. "/nvim/init.lua", (kind == "opt" and "vim.cmd 'packadd lmm'\n" or "") .. examples[2])
      local text = nvim.run(home, "export HOME=$PWD XDG_CONFIG_HOME=$PWD XDG_DATA_HOME=$PWD XDG_STATE_HOME=$PWD; "
        .. shell.quote(editor.program) .. [[ --headless -n -i NONE -c 'help lmm' -c "lua
          io.write(vim.fn.exists ':Lmm', ' ', vim.fn.expand '%:t', ' ', type(require('lmm.nvim').client()))" -c 'qa!']])
      shell.run("rm -rf %s", home)
      assert.equal("2 lmm.txt tableexit 0\n", text)
    end
  end)

  each("by 'runtimepath' alone: it works without settings", function(editor)
    local scenarios = { plugin.MODELS, plugin.answer "ok" }
    plugin.run({ program = editor.program, plugin = folder, init = "" }, scenarios, function(ed, server)
      ed:keys ":Lmm q<CR>"
      plugin.wait_split(ed, "ok")
      assert.matches('"model":"one"', select(3, plugin.sent(server, 2)))
      assert.same({}, ed:lua "return said")
    end)
  end)

  case("and loads nothing before a command is used, nor by good settings", built,
    "require('lmm.nvim').setup { model = 'm', params = { temperature = 0 } }", function(ed)
      assert.same({ "lmm.nvim", "lmm.nvim.notify", "lmm.nvim.session" }, ed:lua [[
        local loaded = {}
        for name in pairs(package.loaded) do
          if name:find "^lmm" then table.insert(loaded, name) end
        end
        table.sort(loaded)
        return loaded]])
      assert.same({ 1, 2 }, ed:lua "return { vim.g.loaded_lmm and 1, vim.fn.exists ':LmmReplace' }")
    end)

  each("and the guide's task runs", function(editor)
    plugin.run({ program = editor.program, plugin = folder }, { plugin.MODELS, plugin.answer("a\n", "b") }, function(ed)
      assert.equal(3, #examples)
      ed:lua(examples[3])
      ed:wait_for("the answer", "return vim.fn.getline(2) == 'b'")
      ed:keys "<C-c>" -- harmless after the end
      assert.same({}, ed:lua "return said")
    end)
  end)

  -- What setup refuses, and what it says.
  for settings, pattern in pairs {
    ["{ modle = 'm' }"] = "lmm%.nvim%.setup: unknown option 'modle' %(did you mean 'model'%?%)$",
    ["{ sytem = 'm' }"] = "lmm%.nvim%.setup: unknown option 'sytem' %(did you mean 'system'%?%)$",
    ["{ temperature = 0 }"] = "lmm%.nvim%.setup: unknown option 'temperature' %(there are: [^\n]*params, [^\n]*%)$",
    ["{ model = {} }"] = "lmm%.nvim%.setup: option 'model' must be a string, not a table$",
    ["{ system = 5 }"] = "lmm%.nvim%.setup: option 'system' must be a string, not a number$",
    ["{ params = 'x' }"] = "lmm%.nvim%.setup: option 'params' must be a table, not a string$",
    ["{ params = { system = 'x' } }"] = "lmm%.nvim%.setup: system is an option beside params, not one of them$",
    ["'http://127.0.0.1/v1'"] = "lmm%.nvim%.setup: a table of options expected, got string$",
  } do
    case("not with " .. settings, built, "", function(ed)
      local raised = ed:lua(("return select(2, pcall(function() require('lmm.nvim').setup(%s) end))"):format(settings))
      assert.matches("call%.lua:%d+: lmm: " .. pattern, raised)
    end)
  end

  case("with every option of lmm.connect", built, "", function(ed)
    local listed = ed:lua [[
      local function names(fn)
        local list = select(2, pcall(fn, { ["no such option at all"] = 1 })):match "there are: (.*)%)$"
        return vim.split(list, ", ")
      end
      return { names(require("lmm").connect), names(require("lmm.nvim").setup) }]]
    local own = {}
    for _, name in ipairs(listed[2]) do
      if name ~= "params" and name ~= "system" then own[#own + 1] = name end
    end
    local connect = {}
    for _, name in ipairs(listed[1]) do
      if name ~= "transport" then connect[#connect + 1] = name end -- which is for specs
    end
    assert.same(connect, own)
  end)

  for settings, pattern in pairs {
    ["{ base_url = 'ftp://x' }"] = "^lmm: base_url 'ftp://x': only http and https servers can be asked, not ftp$",
    ["{ timeout = -1 }"] = "^lmm: [^\n]*timeout[^\n]*more than 0 seconds, not %-1$",
  } do
    case("values that make no sense are told by the commands: " .. settings, built,
      ("require('lmm.nvim').setup(%s)"):format(settings), function(ed)
        check_commands(ed, pattern)
        assert.matches("ERROR:? " .. pattern:gsub("^%^", ""):gsub("%$$", "\n"), health(ed))
      end)
  end

  case("params that make no sense are told by a question", built,
    "require('lmm.nvim').setup { model = 'm', params = { messages = {} } }", function(ed)
      ed:keys ":Lmm q<CR>"
      assert.matches("^lmm: a conversation keeps its own messages", plugin.wait_said(ed))
    end)

  -- What is done to a built library, and what is told then.
  for name, row in pairs {
    ["is not built"] = { "rm *.so", "module 'lmm%.core' not found: " },
    ["has lost a module"] = { "rm curl.so", "module 'lmm%.curl' not found: " },
    ["is broken"] = { ": >core.so", "[^\n]*/lua/lmm/core%.so: file too short: " },
  } do
    local copy
    local function make()
      copy = folder .. "-" .. name:match "%a+$"
      shell.run("cp -a %s %s", folder, copy)
      os.execute("cd " .. copy .. "/lua/lmm && " .. row[1])
      return copy
    end
    case("a library that " .. name .. " is told", make, "require('lmm.nvim').setup { model = 'm' }", function(ed)
      local pattern = row[2] .. "run `make nvim` in " .. copy:gsub("%-", "%%-")
      check_commands(ed, "^" .. pattern .. "$")
      assert.matches("ERROR:? " .. pattern .. "\n", health(ed))
      shell.run("rm -rf %s", copy)
    end)
  end

  case("not twice, where it lies in 'runtimepath' twice", nowhere, "", function(ed)
    ed:lua(("vim.opt.runtimepath:append '%s' vim.cmd 'runtime plugin/lmm.lua'"):format(folder))
    ed:lua "vim.cmd 'delcommand Lmm' vim.cmd 'runtime plugin/lmm.lua'"
    assert.equal(true, ed:lua "return vim.api.nvim_get_commands({}).Lmm == nil")
  end)
end)
