-- The plugin in real editors: questions, answers, the model, and what is told.
local nvim = require "spec.support.nvim"
local plugin = require "spec.support.nvim_plugin"
local replies = require "spec.support.replies"

local case = plugin.cases(it, pending)

describe("the plugin", function()
  setup(plugin.install)
  teardown(plugin.remove)

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

  -- ---- what is shown while the first token is awaited ----

  local waiting = "^ waiting %.%.%. %d+ s %(<C%-c> cancels%)$"

  --- The virtual texts of the buffer that an answer goes into.
  local function shown(ed, in_split)
    if not in_split then return plugin.shown(ed) end
    ed:keys "<C-w>j"
    ed:wait_for("the split", "return vim.bo.buftype == 'nofile'")
    local texts = plugin.shown(ed)
    ed:keys "<C-w>k"
    ed:wait_for("the window above", "return vim.bo.buftype == ''")
    return texts
  end

  local late = { { await = "request" }, { await_all = 2 }, { send = plugin.HEAD .. replies.delta "begun" },
    { hold = true } }
  for _, row in ipairs {
    { ":Lmm q", "its first token", late, function(ed) plugin.go_on(ed) plugin.wait_split(ed, "begun") end },
    { ":Lmm! q", "its first token", late, function(ed) plugin.go_on(ed) plugin.wait_split(ed, "begun") end },
    { ":Lmm q", "<C-c>", plugin.SILENT, function(ed) ed:keys "<C-c>" plugin.wait_idle(ed) end },
    { ":Lmm! q", "<C-c>", plugin.SILENT, function(ed) ed:keys "<C-c>" plugin.wait_idle(ed) end },
    { ":LmmReplace q", "<C-c>", plugin.SILENT, function(ed) ed:keys "<C-c>" plugin.wait_idle(ed) end },
    { ":Lmm q", "an error", { late[1], late[2], { close = true } }, function(ed)
      plugin.go_on(ed)
      plugin.wait_idle(ed)
    end },
  } do
    local command = row[1]
    case(command .. " shows that it waits, until " .. row[2], { row[3], plugin.MODELS }, function(ed, server)
      local in_split = command == ":Lmm q"
      ed:keys(command .. "<CR>")
      server:wait "request"
      assert.matches(waiting, shown(ed, in_split)[1][2])
      ed:wait_for("a second", [[
        for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
          for _, buffer in ipairs(name == "lmm.waiting" and vim.api.nvim_list_bufs() or {}) do
            for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(buffer, namespace, 0, -1, { details = true })) do
              if mark[4].virt_text[1][1]:find "[1-9]%d* s" then return true end
            end
          end
        end]])
      row[4](ed)
      assert.same({}, shown(ed, in_split))
      assert.equal(0, ed:lua "return #vim.fn.timer_info()")
    end)
  end

  case("what awaits its place moves with it", { plugin.SILENT }, function(ed, server)
    plugin.fill(ed, { "first", "last" })
    ed:keys ":Lmm! q<CR>"
    server:wait "request"
    ed:keys "ggOnew<Esc>"
    ed:wait_for("a line", "return vim.fn.line '$' == 3")
    assert.equal(1, plugin.shown(ed)[1][1])
  end)

  -- ---- settings, events ----

  for _, editor in ipairs(nvim.editors()) do
    it("params go along with each request; :LmmModel wins over them (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      plugin.run({ program = editor.program, plugin = plugin.folder, init = "require('lmm.nvim').setup { model = 'm', "
        .. "system = 's', params = { temperature = 0, seed = 7, model = 'p' } }" },
        { plugin.answer "a", plugin.answer "b" }, function(ed, server)
          ed:keys ":Lmm q<CR>"
          plugin.wait_split(ed, "a")
          plugin.wait_idle(ed)
          ed:keys ":LmmModel<CR>:LmmModel other<CR>:Lmm r<CR>"
          plugin.wait_split(ed, "b")
          assert.equal("lmm: the model is p", plugin.wait_said(ed))
          for i, model in ipairs { "p", "other" } do
            local _, messages, body = plugin.sent(server, i)
            assert.same({ role = "system", content = "s" }, messages[1])
            assert.matches('"temperature":0[,}]', body)
            assert.matches('"seed":7[,}]', body)
            assert.matches('"model":"' .. model .. '"', body)
          end
        end)
    end)
  end

  for name, row in pairs {
    done = { plugin.answer "a", function(ed) plugin.wait_split(ed, "a") end },
    cancelled = { plugin.BEGUN, function(ed) plugin.wait_split(ed, "begun") ed:keys ":LmmStop<CR>" end },
    failed = { { { await = "request" }, { close = true } }, function() end },
  } do
    case("events tell of an answer that is " .. name, { row[1] }, function(ed)
      ed:lua [[
        events = {}
        vim.api.nvim_create_autocmd("User", { pattern = "Lmm*", callback = function(given)
          local data = given.data or {}
          table.insert(events, { given.match, data.outcome, data.message })
        end })]]
      ed:keys ":Lmm q<CR>"
      row[2](ed)
      ed:wait_for("the end", "return #events == 2")
      local events = ed:lua "return events"
      assert.equal("LmmStart", events[1][1])
      assert.equal("LmmEnd", events[2][1])
      if ed:lua "return vim.fn.has 'nvim-0.8'" == 1 then
        assert.equal(name, events[2][2])
        assert.equal(name ~= "done" and name or nil, events[2][3] and events[2][3]:match "^%a+")
      end
    end)
  end

  case(":Lmm alone shows the conversation", { plugin.answer "a" }, function(ed)
    ed:keys ":Lmm q<CR>"
    plugin.wait_split(ed, "a")
    plugin.wait_idle(ed)
    ed:keys ":only<CR>"
    assert.falsy(select(2, plugin.split(ed)))
    ed:keys ":Lmm<CR>"
    assert.same({ "> q\n\na", true }, { plugin.split(ed) })
    assert.same({}, ed:lua "return said")
  end)

  case("a question of several lines, from Lua", { plugin.answer "a" }, function(ed, server)
    ed:lua "require('lmm.nvim').ask('one\\ntwo', { text = { 'x', 'y' }, images = { 'picture.jpg' } })"
    assert.equal("> one\n> two\n\na", plugin.wait_split(ed, "a"))
    local content = plugin.sent(server, 1)
    assert.same({ "one\ntwo", "x\ny", "image_url" }, { content[1].text, content[2].text, content[3].type })
  end)

  -- ---- the screen ----

  plugin.screen_cases(it, pending)("the answer is on the screen", { plugin.answer("z\195\164h\n", "end of it") },
    function(screen, wait)
    screen:type ":Lmm What is it?\r"
    local on_screen = wait("the answer", function(text) return text:find "end of it" and text end)
    assert.matches("> What is it%?\n\nz\195\164h\nend of it\n", on_screen)
  end)
end)
