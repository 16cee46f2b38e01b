-- Where the plugin writes answers in real editors, what an undo takes back, and what cancels them.
local plugin = require "spec.support.nvim_plugin"
local replies = require "spec.support.replies"

local case = plugin.cases(it, pending)

describe("an answer in the editor", function()
  setup(plugin.install)
  teardown(plugin.remove)

  case("with ! it goes under the cursor, whatever is written elsewhere", {
    { { await = "request" }, { send = plugin.HEAD .. replies.delta "one\ntw" }, { await_all = 2 },
      { send = replies.delta "o\n" .. replies.delta "three" .. plugin.END } }, plugin.MODELS }, function(ed)
    plugin.fill(ed, { "first", "last" })
    ed:keys ":Lmm! Count<CR>"
    ed:wait_for("text", "return vim.fn.getline(3) == 'tw'")
    ed:lua "vim.api.nvim_buf_set_lines(0, 0, 0, true, { 'above' })"
    plugin.go_on(ed)
    plugin.wait_idle(ed)
    assert.same({ "above", "first", "one", "two", "three", "last" }, plugin.buffer(ed))
  end)

  case("with ! and a selection it goes below the selection", { plugin.answer "three" }, function(ed, server)
    plugin.fill(ed, { "one", "two", "last" })
    ed:keys "ggVj:Lmm! Count<CR>"
    ed:wait_for("text", "return vim.fn.getline(3) == 'three'")
    assert.same({ "one", "two", "three", "last" }, plugin.buffer(ed))
    assert.equal("one\ntwo", plugin.sent(server, 1)[2].text)
  end)

  case("with ! one undo takes a whole answer back", { plugin.answer("a", "b", "\nc", "d") }, function(ed)
    plugin.fill(ed, { "first" })
    ed:keys ":Lmm! q<CR>"
    ed:wait_for("text", "return vim.fn.getline(3) == 'cd'")
    plugin.wait_idle(ed)
    ed:keys "u"
    assert.same({ "first" }, plugin.buffer(ed))
  end)

  -- What is typed elsewhere while an answer comes, and what the buffer is after each undo.
  for name, row in pairs {
    ["in normal mode"] = { "ggAx<Esc>", { "firstx", "one, two", "last" }, { "first", "one, two", "last" } },
    ["in insert mode"] = { "", { "firstx", "last" }, { "first", "last" }, before = "ggAx" },
    ["and undone"] = { "ggAx<Esc>u", { "first", "one, two", "last" }, { "first", "last" } },
  } do
    case("with ! an undo leaves apart what is typed meanwhile " .. name, { plugin.IN_TWO, plugin.MODELS }, function(ed)
      plugin.fill(ed, { "first", "last" })
      ed:keys(":Lmm! q<CR>" .. (row.before or ""))
      ed:wait_for("text", "return vim.fn.getline(2) == 'one, two'")
      ed:keys(row[1])
      plugin.go_on(ed)
      ed:wait_for("the end", "return vim.fn.getline(2) == 'one, two, three, four'")
      ed:keys "<Esc>u"
      assert.same(row[2], plugin.buffer(ed))
      ed:keys "u"
      assert.same(row[3], plugin.buffer(ed))
    end)
  end

  for name, how in pairs {
    ["<C-c>"] = "<C-c>", ["<C-c> in the split"] = "<C-c>", ["closing the window of the split"] = "<C-w>c",
    ["wiping the buffer of the split"] = ":bwipeout!<CR>", [":LmmStop"] = ":LmmStop<CR>",
  } do
    case(name .. " cancels, and the server sees it", { plugin.BEGUN, plugin.answer "second" }, function(ed, server)
      ed:keys ":Lmm q<CR>"
      plugin.wait_split(ed, "begun")
      if name:find "split" then
        ed:keys "<C-w>j"
        ed:wait_for("the split", "return vim.bo.buftype == 'nofile'")
      end
      ed:keys(how)
      server:wait "closed"
      ed:keys ":Lmm r<CR>"
      local first = name:find "wiping" and "" or "> q\n\nbegun\n\n*cancelled*\n\n"
      assert.same(first .. "> r\n\nsecond", plugin.wait_split(ed, "second"))
      assert.equal(1, #select(2, plugin.sent(server, 2))) -- what was cancelled is not in the history
      assert.same({}, ed:lua "return said")
    end)
  end

  case("what is cancelled before anything came leaves the question", { plugin.SILENT },
    function(ed, server)
      ed:keys ":Lmm q<CR>"
      server:wait "request"
      ed:keys "<C-c>"
      server:wait "closed"
      plugin.wait_idle(ed)
      assert.equal("> q\n\n*cancelled*", plugin.split(ed))
    end)

  -- What takes the place of an answer of ! away, and what the buffer is then.
  for name, row in pairs {
    ["an undo"] = { "u", { "top", "", "bottom" } },
    ["an undo, and typing after it"] = { "uggAx<Esc>", { "topx", "", "bottom" } },
    ["a deletion"] = { "2Gdd", { "top", "", "bottom" } },
    ["a deletion to the end"] = { "2GdG", { "top" } },
    ["joined lines"] = { "3GddkJ", { "top", "one, two bottom" } },
    ["a mark that was removed"] = { ":call nvim_buf_clear_namespace(0, -1, 0, -1)<CR>",
      { "top", "one, two", "", "bottom" } },
    ["a change of all lines"] = { ":call nvim_buf_set_lines(0, 0, -1, 1, ['new'])<CR>", { "new" } },
  } do
    local first, second, third = plugin.IN_TWO[1], plugin.IN_TWO[2], plugin.IN_TWO[3]
    local scenario = { first, second, third, { send = replies.delta ", three" }, { hold = true } }
    case("with ! the answer's place is gone: " .. name, { scenario, plugin.MODELS }, function(ed, server)
      plugin.fill(ed, { "top", "", "bottom" })
      ed:keys "gg:Lmm! q<CR>"
      ed:wait_for("text", "return vim.fn.getline(2) == 'one, two'")
      ed:keys(row[1])
      assert.same(row[2], plugin.buffer(ed))
      plugin.go_on(ed)
      server:wait "closed"
      plugin.wait_idle(ed)
      assert.same(row[2], plugin.buffer(ed))
      assert.equal("lmm: the answer is cancelled: its place in the buffer is gone", plugin.wait_said(ed))
      assert.equal(1, ed:lua "return #said")
    end)
  end

  for name, how in pairs { ["<C-c>"] = "<C-c>", ["hiding the buffer"] = ":enew<CR>", ["a question"] = ":Lmm r<CR>" } do
    local scenarios = { plugin.BEGUN, plugin.answer "second" }
    case(name .. " cancels an answer of !, and that is told", scenarios, function(ed, server)
      ed:keys ":Lmm! q<CR>"
      ed:wait_for("text", "return vim.fn.getline(2) == 'begun'")
      ed:keys(how)
      server:wait "closed"
      assert.equal("lmm: the answer is cancelled", plugin.wait_said(ed))
      plugin.wait_idle(ed)
      assert.equal(1, ed:lua "return #said")
    end)
  end

  -- What <C-c> may be already in the buffer, and Lua code that tells of its having been typed.
  for name, row in pairs {
    ["a command"] = { [[vim.cmd 'nnoremap <buffer> <silent> <C-c> :let typed = "a<Bar>b"<CR>']],
      "return vim.g.typed == 'a|b'" },
    ["a function"] = { "vim.keymap.set('n', '<C-c>', function() typed = true end, { buffer = true })", "return typed" },
  } do
    for _, command in ipairs { ":Lmm q<CR>", ":Lmm! q<CR>" } do
      case("<C-c> is the user's again after " .. command .. ": " .. name, { plugin.BEGUN }, function(ed, server)
        ed:lua(row[1])
        ed:keys(command)
        server:wait "request"
        ed:keys "<C-c>"
        server:wait "closed"
        plugin.wait_idle(ed)
        assert.falsy(ed:lua(row[2]))
        ed:keys "<C-c>"
        ed:wait_for("what it does", row[2])
      end)
    end
  end

  case("a buffer that becomes unmodifiable ends the answer", {
    { { await = "request" }, { send = plugin.HEAD .. replies.delta "begun" }, { await_all = 2 },
      { send = replies.delta "more" }, { hold = true } }, plugin.MODELS }, function(ed, server)
    ed:keys ":Lmm q<CR>"
    plugin.wait_split(ed, "begun")
    ed:lua [[
      for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
        if vim.bo[buffer].buftype == "nofile" then vim.bo[buffer].modifiable = false end
      end]]
    plugin.go_on(ed)
    server:wait("closed", 1)
    plugin.wait_idle(ed)
    assert.equal(1, #ed:wait_for("the message", "return said[1] and said"))
    assert.matches("^[^\n]*'modifiable'[^\n]*$", ed:lua "return said[1][1]")
    assert.equal(0, ed:lua "return #vim.api.nvim_get_autocmds { event = 'BufWinLeave' }")
  end)

  local twice = { plugin.BEGUN, plugin.answer "second" }
  case("a question while an answer comes takes its place", twice, function(ed, server)
    ed:keys ":Lmm q<CR>"
    plugin.wait_split(ed, "begun")
    ed:keys ":Lmm r<CR>"
    assert.matches("begun\n\n%*cancelled%*\n\n> r\n\nsecond$", plugin.wait_split(ed, "second"))
    assert.equal(1, server:wait("closed")[1].connection)
  end)

  case("what ! asks and answers stands in the split, and is part of the conversation", {
    plugin.answer("one\n", "two"), plugin.answer "three" }, function(ed, server)
    ed:keys ":Lmm! Count<CR>"
    plugin.wait_idle(ed)
    ed:wait_for("text", "return vim.fn.getline(3) == 'two'")
    assert.same({ "> Count\n\none\ntwo", false }, { plugin.split(ed) })
    ed:keys ":Lmm Go on<CR>"
    plugin.wait_split(ed, "three")
    assert.same({ "> Count\n\none\ntwo\n\n> Go on\n\nthree", true }, { plugin.split(ed) })
    assert.equal(3, #select(2, plugin.sent(server, 2)))
    assert.same({ "", "one", "two" }, plugin.buffer(ed))
  end)

  local third = { plugin.IN_TWO[1], plugin.IN_TWO[2], { await_all = 3 }, plugin.IN_TWO[4] }
  case("what ! asks shows in a split that is open, and closing that goes on", { plugin.answer "a", third,
    plugin.MODELS }, function(ed)
    ed:keys ":Lmm q<CR>"
    plugin.wait_split(ed, "a")
    plugin.wait_idle(ed)
    ed:keys ":Lmm! r<CR>"
    assert.equal("> q\n\na\n\n> r\n\none, two", plugin.wait_split(ed, "two"))
    ed:keys "<C-w>j<C-w>c"
    ed:wait_for("one window", "return #vim.api.nvim_list_wins() == 1")
    plugin.go_on(ed)
    ed:wait_for("text", "return vim.fn.getline(2) == 'one, two, three, four'")
    plugin.wait_idle(ed)
    assert.same({}, ed:lua "return said")
  end)

  case("a split that was thrown away does not end an answer of !", { plugin.IN_TWO, plugin.MODELS }, function(ed)
    ed:keys ":Lmm! q<CR>"
    plugin.wait_split(ed, "one, two")
    ed:lua [[
      for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
        if vim.bo[buffer].buftype == "nofile" then vim.api.nvim_buf_delete(buffer, { force = true }) end
      end]]
    plugin.go_on(ed)
    ed:wait_for("text", "return vim.fn.getline(2) == 'one, two, three, four'")
    plugin.wait_idle(ed)
    assert.same({}, ed:lua "return said")
  end)

  case("text is selected on while an answer of ! goes into a hidden split, too", { plugin.IN_TWO, plugin.MODELS },
    function(ed)
      plugin.fill(ed, { "first" })
      ed:keys ":Lmm! q<CR>"
      ed:wait_for("text", "return vim.fn.getline(2) == 'one, two'")
      ed:keys "ggvl"
      plugin.go_on(ed)
      ed:wait_for("text", "return vim.fn.getline(2) == 'one, two, three, four'")
      plugin.wait_split(ed, "four")
      ed:keys "d"
      ed:wait_for("a deletion", "return vim.fn.getline(1) == 'rst'")
    end)
end)
