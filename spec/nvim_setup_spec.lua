-- The example plugin where it is not set up well: each command tells what is wrong in one line.
local nvim = require "spec.support.nvim"
local process = require "spec.support.process"

local plugin = nvim.plugin()

--- A case in each editor, without a server.
local function case(name, folder, init, fn)
  for _, editor in ipairs(nvim.editors()) do
    test.case(name .. " (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      local said = nvim.with({ program = editor.program, plugin = folder, init = init }, fn)
      assert.truthy(not said:find "Error", said)
    end)
  end
end

--- Uses every command that needs a server; each is to tell one message, which matches.
local function check_commands(ed, pattern)
  assert.same({}, ed:lua "return vim.fn.getcompletion('LmmModel ', 'cmdline')")
  ed:keys ":LmmNew<CR>:LmmModel<CR>:Lmm q<CR>:Lmm! again<CR>:LmmStop<CR>"
  ed:wait_for("the messages", "return #said >= 4")
  for _, row in ipairs(ed:lua "return said") do assert.matches(pattern, row[1]) end
  assert.same({ 4, 1, 1 }, ed:lua "return { #said, #vim.api.nvim_list_wins(), vim.fn.line '$' }")
end

for settings, pattern in pairs {
  ["{ base_url = 'ftp://x' }"] = "^lmm: base_url 'ftp://x': only http and https servers can be asked, not ftp$",
  ["{ model = {} }"] = "^lmm: [^\n]*'model' must be a string, not a table$",
  ["{ modle = 'm' }"] = "^lmm: [^\n]*modle[^\n]*$",
} do
  case("bad settings are told: " .. settings, plugin, ("require('lmm_nvim').setup(%s)"):format(settings), function(ed)
    check_commands(ed, pattern)
    assert.matches("ERROR:? " .. pattern:gsub("^%^", ""):gsub("%$$", "\n"), ed:lua "vim.cmd 'checkhealth lmm' return table.concat(vim.fn.getline(1, '$'), '\\n')")
  end)
end

case("a system message that is no text is told", plugin, "require('lmm_nvim').setup { system = 5 }", function(ed)
  ed:keys ":Lmm q<CR>"
  assert.equal("lmm: system is a string, not a number", ed:wait_for("the message", "return said[1] and said[1][1]"))
end)

case("setup takes a table", plugin, "", function(ed)
  assert.matches("lmm_nvim%.setup takes a table, not a string$", ed:lua "return select(2, pcall(require('lmm_nvim').setup, 'http://127.0.0.1/v1'))")
end)

-- What is done to a built library, and what is told then.
for name, row in pairs {
  ["is not built"] = { "rm *.so", "module 'lmm%.core' not found: " },
  ["has lost a module"] = { "rm curl.so", "module 'lmm%.curl' not found: " },
  ["is broken"] = { ": >core.so", "[^\n]*/lua/lmm/core%.so: file too short: " },
} do
  local folder = plugin .. "-" .. name:match "%a+$"
  process.shell(("cp -a %s %s && cd %s/lua/lmm && %s"):format(plugin, folder, folder, row[1]))
  case("a library that " .. name .. " is told", folder, "", function(ed)
    local pattern = row[2] .. "run `make nvim` in " .. folder:gsub("%-", "%%-")
    check_commands(ed, "^" .. pattern .. "$")
    assert.matches("ERROR:? " .. pattern .. "\n", ed:lua "vim.cmd 'checkhealth lmm' return table.concat(vim.fn.getline(1, '$'), '\\n')")
  end)
  process.shell("rm -rf " .. folder)
end

case("a library that is not there is told", "/nowhere",
  ("vim.opt.runtimepath:append '%s/examples/nvim' vim.cmd 'runtime plugin/lmm.lua'"):format(plugin), function(ed)
    check_commands(ed, "^module 'lmm' not found: put the folder of the library into 'runtimepath'$")
  end)

process.shell("rm -rf " .. plugin)
