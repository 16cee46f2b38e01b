-- :LmmReplace in real editors: what is replaced, what the user is shown, and how it is accepted or taken back.
local plugin = require "spec.support.nvim_plugin"

local case = plugin.cases(it, pending)

--- Waits until a change waits for the user.
local function wait_diff(ed)
  ed:wait_for("a change", "return vim.fn.maparg('ga', 'n') ~= ''")
end

--- Whether nothing is shown any more, and the keys are the user's.
local function is_settled(ed)
  return #plugin.shown(ed) == 0 and ed:lua "return vim.fn.maparg('ga', 'n') .. vim.fn.maparg('gr', 'n') == ''"
end

local CLEAR = { "top", "one", "two", "three", "bottom" }
local QUESTION = "Answer with the text that is to stand in the place of the following one, and with nothing else."

describe(":LmmReplace", function()
  setup(plugin.install)
  teardown(plugin.remove)

  case("puts the answer in place of the lines, and shows what differs", { plugin.answer("one\n2\n", "2.5\nthree\n") },
    function(ed, server)
      plugin.fill(ed, CLEAR)
      ed:keys "2GVjj:LmmReplace Digits<CR>"
      wait_diff(ed)
      assert.same({ "top", "one", "2", "2.5", "three", "bottom" }, plugin.buffer(ed))
      assert.same({ { 1, "- two " }, { 2, " ga accepts, gr or u takes it back" }, { 2, "+2" } }, plugin.shown(ed))
      local content = plugin.sent(server, 1)
      assert.same({ "Digits", QUESTION, "one\ntwo\nthree" }, { content[1].text, content[2].text, content[3].text })
      assert.same({ "> Digits\n\none\n2\n2.5\nthree\n", false }, { plugin.split(ed) })
      assert.same({}, ed:lua "return said")
    end)

  -- Keys that settle it, and what the buffer is then.
  local new = { "top", "1", "2", "bottom" }
  for name, row in pairs {
    ["ga accepts"] = { "ga", new }, [":LmmAccept accepts"] = { ":LmmAccept<CR>", new },
    ["gr takes it back"] = { "gr", CLEAR }, [":LmmReject takes it back"] = { ":LmmReject<CR>", CLEAR },
    ["u takes it back"] = { "u", CLEAR },
    ["gr takes it back after a change elsewhere"] = { "GAx<Esc>gr", { "top", "one", "two", "three", "bottomx" } },
    ["gr takes it back after a change of it"] = { "2GAx<Esc>O<Esc>gr", CLEAR },
    ["ga leaves what was changed since"] = { "2GAx<Esc>ga", { "top", "1x", "2", "bottom" } },
    ["u takes it back after ga"] = { "gau", CLEAR },
  } do
    case(name, { plugin.answer "1\n2" }, function(ed)
      plugin.fill(ed, CLEAR)
      ed:keys "2GVjj:LmmReplace q<CR>"
      wait_diff(ed)
      assert.same(new, plugin.buffer(ed))
      ed:keys(row[1])
      ed:wait_for("the end", "return vim.fn.maparg('ga', 'n') == ''")
      assert.same(row[2], plugin.buffer(ed))
      assert.truthy(is_settled(ed))
      assert.same({}, ed:lua "return said")
    end)
  end

  -- What stands in the buffer, the keys that select, the answer, and what stands there then.
  for name, row in pairs {
    ["the cursor's line"] = { { "a", "b" }, "2G:LmmReplace q<CR>", "x\ny", { "a", "x", "y" } },
    ["a range"] = { { "a", "b", "c" }, ":1,2LmmReplace q<CR>", "x", { "x", "c" } },
    ["a part of a line"] = { { "say z\195\164hle \240\159\152\128 now" },
      "ggfzvf\240\159\152\128:LmmReplace q<CR>", "x", { "say x now" } },
    ["parts of two lines"] = { { "one two", "three four" }, "ggwvj0e:LmmReplace q<CR>", "2\n3\n",
      { "one 2", "3 four" } },
    ["to the end of a line"] = { { "one two", "three" }, "ggwv$:LmmReplace q<CR>", "x", { "one x", "three" } },
    ["a block"] = { { "ab\195\164d", "i", "efgh" }, "gg0l<C-v>ljj:LmmReplace q<CR>", "1\n2\n3",
      { "a1d", "i2", "e3h" } },
    ["a block by fewer lines"] = { { "abcd", "efgh" }, "gg0l<C-v>jl:LmmReplace q<CR>", "xyz", { "axyzd", "e   h" } },
    ["a block by more lines"] = { { "abcd", "efgh" }, "gg0ll<C-v>jl:LmmReplace q<CR>", "1\n2\n3",
      { "ab1", "ef2", "  3" } },
    ["all of it"] = { { "a", "b" }, ":%LmmReplace q<CR>", "x", { "x" } },
  } do
    case("replaces " .. name, { plugin.answer(row[3]) }, function(ed)
      plugin.fill(ed, row[1])
      ed:keys(row[2])
      wait_diff(ed)
      assert.same(row[4], plugin.buffer(ed))
      ed:keys "gr"
      ed:wait_for("the end", "return vim.fn.maparg('ga', 'n') == ''")
      assert.same(row[1], plugin.buffer(ed))
    end)
  end

  -- What an answer is without its fences.
  for answer, text in pairs {
    ["```lua\nx\n```"] = "x", ["\n```\nx\n\ny\n```\n\n"] = "x\n\ny", ["~~~~\n~~~\nx\n~~~~"] = "~~~\nx",
    ["```md\na\n```lua\nb\n```\nc\n```"] = "a\n```lua\nb\n```\nc", ["```\na\n```\nand\n```\nb\n```"] = false,
    ["a ```\nb\n```"] = false, ["```lua\nx"] = false, ["```"] = false, ["`x`"] = false, ["  ```\n  x\n  ```  "] = "  x",
  } do
    local name = (text and "drops the fences of " or "keeps the fences of ") .. answer:gsub("\n", "|")
    case(name, { plugin.answer(answer) }, function(ed)
      plugin.fill(ed, { "old" })
      ed:keys ":LmmReplace q<CR>"
      wait_diff(ed)
      assert.equal(text or answer, table.concat(plugin.buffer(ed), "\n"))
    end)
  end

  local same = plugin.answer "two\n"
  local CUT = { plugin.BEGUN[1], plugin.BEGUN[2], { await_all = 2 }, { close = true } }
  for name, row in pairs {
    ["<C-c>"] = { plugin.BEGUN, "^lmm: the answer is cancelled$", function(ed)
      plugin.wait_split(ed, "begun")
      ed:keys "<C-c>"
    end },
    ["an answer that breaks off"] = { CUT, "^[^\n]+$", function(ed)
      plugin.wait_split(ed, "begun")
      plugin.go_on(ed)
    end },
    ["an empty answer"] = { plugin.answer " \n", "^lmm: nothing is replaced: the answer is empty$" },
    ["the same text"] = { same, "^lmm: nothing is replaced: the answer is what stands there already$" },
  } do
    case("leaves the text as it was: " .. name, { row[1], plugin.MODELS }, function(ed)
      plugin.fill(ed, CLEAR)
      ed:lua "vim.bo.modified = false"
      ed:keys "3GV:LmmReplace q<CR>"
      if row[3] then row[3](ed) end
      assert.matches(row[2], plugin.wait_said(ed))
      plugin.wait_idle(ed)
      assert.same({ CLEAR, false }, { plugin.buffer(ed), ed:lua "return vim.bo.modified" })
      assert.truthy(is_settled(ed))
    end)
  end

  -- What is done while the answer comes; the text is then left as that made it, or replaced where it has gone.
  for name, row in pairs {
    ["above it"] = { "ggOnew<Esc>", { "new", "top", "one", "one, two, three, four", "three", "bottom" } },
    ["in its line's neighbours"] = { "2GddGox<Esc>", { "top", "one, two, three, four", "three", "bottom", "x" } },
    ["in the line above it"] = { "3GOnew<Esc>", { "top", "one", "new", "one, two, three, four", "three", "bottom" } },
    ["before itself"] = { "3GIx<Esc>", { "top", "one", "xtwo", "three", "bottom" }, true },
    ["of itself"] = { "3GAx<Esc>", { "top", "one", "twox", "three", "bottom" }, true },
    ["that deletes it"] = { "3Gdd", { "top", "one", "three", "bottom" }, true },
  } do
    case("goes where the selection is after a change " .. name, { plugin.IN_TWO, plugin.MODELS }, function(ed)
      plugin.fill(ed, CLEAR)
      ed:keys "3GV:LmmReplace q<CR>"
      plugin.wait_split(ed, "one, two")
      ed:keys(row[1])
      plugin.go_on(ed)
      plugin.wait_idle(ed)
      assert.same(row[2], plugin.buffer(ed))
      local said = row[3] and "lmm: nothing is replaced: the selection was changed meanwhile" or nil
      assert.equal(said, ed:lua "return said[1] and said[1][1]")
      assert.matches("one, two, three, four$", (plugin.split(ed)))
    end)
  end

  case("a further one accepts the one before", { plugin.answer "1", plugin.answer "2" }, function(ed)
    plugin.fill(ed, { "a", "b" })
    ed:keys ":1LmmReplace q<CR>"
    wait_diff(ed)
    plugin.wait_idle(ed)
    ed:keys ":2LmmReplace r<CR>"
    ed:wait_for("text", "return vim.fn.getline(2) == '2'")
    assert.same({ { 0, "- b " }, { 1, " ga accepts, gr or u takes it back" }, { 1, "+1" } }, plugin.shown(ed))
    ed:keys "gr"
    ed:wait_for("the end", "return vim.fn.maparg('ga', 'n') == ''")
    assert.same({ "1", "b" }, plugin.buffer(ed))
  end)

  case("ga and gr are the user's again", { plugin.answer "1" }, function(ed)
    ed:lua "vim.keymap.set('n', 'ga', function() typed = true end, { buffer = true })"
    ed:keys ":LmmReplace q<CR>"
    ed:wait_for("a change", "return vim.fn.getline(1) == '1'")
    ed:keys "ga"
    assert.equal(true, ed:lua "return typed == nil")
    ed:keys "ga"
    assert.equal(true, ed:lua "return typed")
  end)

  case("what waits for nothing is told", nil, function(ed)
    ed:keys ":LmmAccept<CR>:LmmReject<CR>"
    plugin.wait_said(ed, 2)
    assert.same({ "lmm: there is nothing to accept", "lmm: there is nothing to take back" },
      ed:lua "return { said[1][1], said[2][1] }")
    ed:keys ":set nomodifiable<CR>:LmmReplace q<CR>"
    assert.equal("this buffer cannot be changed", plugin.wait_said(ed, 3))
  end)

  case("a buffer that is wiped out while its change waits", { plugin.answer "1" }, function(ed)
    ed:keys ":LmmReplace q<CR>"
    wait_diff(ed)
    ed:keys ":bwipeout!<CR>:LmmAccept<CR>"
    assert.equal("lmm: there is nothing to accept", plugin.wait_said(ed))
  end)

  case("from Lua", { plugin.answer "x" }, function(ed)
    plugin.fill(ed, CLEAR)
    ed:lua "require('lmm.nvim').replace('q', { first = 2, last = 4 })"
    wait_diff(ed)
    assert.same({ "top", "x", "bottom" }, plugin.buffer(ed))
    assert.same({ true, false }, ed:lua "local m = require 'lmm.nvim' return { m.reject(), m.accept() }")
    assert.same(CLEAR, plugin.buffer(ed))
  end)

  plugin.screen_cases(it, pending)("shows on the screen what it replaced, also in the first line",
    { plugin.answer "new" }, function(screen, wait)
    local function wait_for(what, pattern) wait(what, function(text) return text:find(pattern) end) end
    screen:type "iold\rmore\27gg:LmmReplace q\r"
    wait_for("the change", "^old *\nnew  ga accepts, gr or u takes it back *\nmore\n~")
    screen:type "gr"
    wait_for("the old text", "^old *\nmore\n~")
  end)
end)
