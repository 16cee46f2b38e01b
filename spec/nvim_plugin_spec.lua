-- The plugin in real editors: questions, answers, the model, and what is told.
local nvim = require "spec.support.nvim"
local plugin = require "spec.support.nvim_plugin"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"

local folder

--- A case in each editor, with a server of these scenarios; nil is a server that is not there.
local function case(name, scenarios, fn)
  for _, editor in ipairs(nvim.editors()) do
    it(name .. " (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      plugin.run({ program = editor.program, plugin = folder }, scenarios, fn)
    end)
  end
end

describe("the plugin", function()
  setup(function() folder = nvim.plugin() end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  case("an answer streams into a split; a second question continues the conversation",
    { { { await = "request" },
      { dribble = plugin.HEAD .. replies.delta "z\195\164h\n\n" .. replies.delta "- \240\159\152\128\n", every = 0 },
      { send = replies.delta "- b\r" .. replies.delta "\n\tc" .. plugin.END } }, plugin.answer("Yes", ".") },
    function(ed, server)
      ed:keys ":Lmm What is it?<CR>"
      assert.equal("> What is it?\n\nz\195\164h\n\n- \240\159\152\128\n- b\n\tc", plugin.wait_split(ed, "\tc"))
      assert.same({ "" }, plugin.buffer(ed))
      plugin.wait_idle(ed)
      ed:keys ":Lmm Really?<CR>"
      assert.matches("\n\tc\n\n> Really%?\n\nYes%.$", plugin.wait_split(ed, "Yes."))
      local _, messages = plugin.sent(server, 2)
      assert.same({ { role = "user", content = "What is it?" }, { role = "assistant",
        content = "z\195\164h\n\n- \240\159\152\128\n- b\r\n\tc" }, { role = "user", content = "Really?" } }, messages)
      assert.equal(2, ed:lua "return #vim.api.nvim_list_wins()")
      assert.same({}, ed:lua "return said")
      ed:keys ":LmmNew<CR>:Lmm Again?<CR>"
      assert.equal(1, #select(2, plugin.sent(server, 3)))
    end)

  case(":LmmModel completes from the server, and is asked", { plugin.MODELS, plugin.answer "ok" }, function(ed, server)
    assert.same({ "other" }, ed:lua "return vim.fn.getcompletion('LmmModel ot', 'cmdline')")
    ed:keys ":LmmModel other<CR>:Lmm q<CR>"
    plugin.wait_split(ed, "ok")
    assert.matches('"model":"other"', select(3, plugin.sent(server, 2)))
    ed:keys ":LmmModel<CR>"
    assert.matches("other", ed:lua "return said[1][1]")
  end)

  case("errors are told, with the hint, and stand under their questions", nil, function(ed)
    ed:keys ":Lmm q<CR>"
    assert.matches("cannot reach .*is a server running there", plugin.wait_said(ed))
    assert.matches("^> q\n\n%*failed: cannot reach [^\n]*%*$", plugin.wait_split(ed, "*"))
    plugin.wait_idle(ed)
    ed:keys ":Lmm -i gone.jpg r<CR>"
    assert.matches("cannot read '.*gone%.jpg'", plugin.wait_said(ed, 2))
    assert.matches("%*\n\n> r\n\n%*failed: cannot read [^\n]*%*$", plugin.wait_split(ed, "directory*"))
    assert.same({}, ed:lua "return vim.fn.getcompletion('LmmModel o', 'cmdline')")
    assert.truthy(ed:lua "return said[3][2] == vim.log.levels.ERROR")
  end)

  local CUT = { { await = "request" }, { send = plugin.HEAD .. replies.delta "begun" } }

  case("a split that cannot be changed is told", { plugin.answer "a", plugin.answer "b" }, function(ed)
    ed:keys ":Lmm q<CR>"
    plugin.wait_split(ed, "a")
    plugin.wait_idle(ed)
    ed:keys "<C-w>j:set nomodifiable<CR>:Lmm r<CR>"
    assert.equal("lmm: the answers' buffer is locked: :set modifiable in it", plugin.wait_said(ed))
    ed:keys ":set modifiable<CR>:Lmm r<CR>"
    plugin.wait_split(ed, "> r\n\nb")
  end)

  case("what breaks off says so under what had come", { CUT }, function(ed)
    ed:keys ":Lmm q<CR>"
    assert.matches("^> q\n\nbegun\n\n%*failed: [^\n]*%*$", plugin.wait_split(ed, "*"))
  end)

  case("with ! a failure changes nothing", nil, function(ed)
    ed:keys ":Lmm! q<CR>"
    ed:wait_for("the message", "return said[1]")
    plugin.wait_idle(ed)
    assert.same({ { "" }, false }, { plugin.buffer(ed), ed:lua "return vim.bo.modified" })
  end)

  local REFUSAL = plugin.whole({ error = { message = "too busy today" } }, "400 Bad Request")

  case("a server's refusal is told", { REFUSAL }, function(ed)
    ed:keys ":Lmm q<CR>"
    assert.matches("HTTP 400 from .*too busy today", plugin.wait_said(ed))
  end)

  case(":checkhealth lmm.nvim and :help lmm", { plugin.MODELS }, function(ed)
    local text = ed:lua "vim.cmd 'checkhealth lmm.nvim' return table.concat(vim.fn.getline(1, '$'), '\\n')"
    for _, expected in ipairs { "the library loads: version ", "answers", "model other" } do
      assert.truthy(text:find(expected, 1, true), expected .. " is not in " .. text)
    end
    assert.falsy(text:find "ERROR", text)
    assert.matches("/doc/lmm%.txt$", ed:lua "vim.cmd 'help lmm' return vim.fn.expand '%:p'")
    assert.matches("%*lmm%*", ed:lua "return vim.fn.getline '.'")
  end)

  case(":checkhealth lmm.nvim without a server says so", nil, function(ed)
    local text = ed:lua "vim.cmd 'checkhealth lmm.nvim' return table.concat(vim.fn.getline(1, '$'), '\\n')"
    assert.matches("ERROR.*cannot reach .*is a server running there.*OPENAI_BASE_URL", text)
  end)

  -- ---- the screen ----

  for _, editor in ipairs(nvim.editors()) do
    it("the answer is on the screen (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      local server = raw.start { plugin.answer("z\195\164h\n", "end of it") }
      local screen = nvim.screen { program = editor.program, plugin = folder, url = server.url,
        init = "require('lmm.nvim').setup { model = 'm' }" }
      local ok, problem = pcall(function()
        screen:type ":Lmm What is it?\r"
        local text = process.wait_for("the answer on the screen", function()
          local shown = screen:text()
          return shown:find "end of it" and shown
        end)
        assert.matches("> What is it%?\n\nz\195\164h\nend of it\n", text)
        screen:type ":qa!\r"
        process.wait_for("the editor's end", function() return not screen:is_running() end)
      end)
      screen:stop()
      server:stop()
      if not ok then error(problem, 0) end
    end)
  end
end)
