-- What goes along with a question that is typed in a real editor: pictures and what is selected.
local plugin = require "spec.support.nvim_plugin"
local process = require "spec.support.process"

local case = plugin.cases(it, pending)

describe("what goes along", function()
  setup(plugin.install)
  teardown(plugin.remove)

  -- What goes along: the buffer's lines, the keys, and what the question and the text of the request are.
  for name, row in pairs {
    ["a selection"] = { "one / two / three", "ggVj:Lmm What?<CR>", "What?", "one\ntwo" },
    ["-i"] = { "", ":Lmm -i picture.jpg What?<CR>", "What?", nil, 1 },
    ["-i twice, with a space in a name"] = { "", ":Lmm -i a\\ b.jpg -i picture.jpg What?<CR>", "What?", nil, 2 },
    ["<cfile>"] = { "see picture.jpg there", "ggfj:Lmm What is <lt>cfile><CR>", "What is", nil, 1 },
    ["-i <cfile>"] = { "see picture.jpg there", "ggfj:Lmm -i <lt>cfile> What?<CR>", "What?", nil, 1 },
    ["<cfile> among punctuation"] = { "see picture.jpg there", "ggfj:Lmm What (<lt>cfile>)?<CR>", "What ()?", nil, 1 },
    ["-i in a question"] = { "", ":Lmm What does ls -i file do?<CR>", "What does ls -i file do?" },
    ["-i at a question's end"] = { "", ":Lmm -i picture.jpg What is -i<CR>", "What is -i", nil, 1 },
    ["what is behind --"] = { "picture.jpg", ":Lmm -- -i  a\\ b <lt>cfile> --<CR>", "-i  a\\ b <cfile> --" },
    ["what is behind -i and --"] = { "", ":Lmm -i picture.jpg -- -i<CR>", "-i", nil, 1 },
    ["a variable in a path"] = { "", ":Lmm -i $HOME/picture.jpg What?<CR>", "What?", nil, 1 },
    ["an image link under the cursor"] = { "a ![b](picture.jpg) c", "ggfb:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link with a space"] = { "![b](a b.jpg 'c')", "gg:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link with escaped brackets"] = { "![\\[](a\\(b.jpg)", "gg:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link with % in the file's name"] = { "![b](a%25b.jpg)", "gg:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link without a path"] = { "![b]()", "gg:Lmm What?<CR>", "What?" },
    ["an image link with an encoded space"] = { "![b](a%20b.jpg)", "gg:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link in angle brackets"] = { "![a [b]](<a b.jpg>)", "gg:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link with a title"] = { '![b]( picture.jpg "of (it)")', "gg$:Lmm What?<CR>", "What?", nil, 1 },
    ["an image link to a URL"] = { "![b](https://example.org/a%20b(1).jpg)", "gg:Lmm What?<CR>", "What?", nil, 1,
      "https://example.org/a%20b(1).jpg" },
    ["an image link elsewhere"] = { "a ![b](picture.jpg) c", "gg:Lmm What?<CR>", "What?" },
    ["nothing of what Vim would expand"] = { "", ":Lmm 50% of # `=1` $HOME *?<CR>", "50% of # `=1` $HOME *?" },
    ["a URL"] = { "", ":Lmm -i https://example.org/a.jpg What?<CR>", "What?", nil, 1, "https://example.org/a.jpg" },
  } do
    case("what goes along: " .. name, { plugin.answer "Seen." }, function(ed, server)
      process.shell("cd " .. ed.folder .. " && for i in ' ' '(' %25; do cp picture.jpg \"a${i}b.jpg\"; done")
      ed:lua(("vim.api.nvim_buf_set_lines(0, 0, -1, true, vim.split(%q, ' / '))"):format(row[1]))
      ed:keys(row[2])
      plugin.wait_split(ed, "Seen.")
      local content = plugin.sent(server, 1)
      if type(content) == "string" then content = { { type = "text", text = content } } end
      local images = 0
      for _, part in ipairs(content) do
        if part.type == "image_url" then
          images = images + 1
          local begins = row[6] or "data:image/jpeg;base64,/9j/"
          assert.equal(begins, part.image_url.url:sub(1, #begins))
        end
      end
      assert.same({ row[3], row[4], row[5] or 0 }, { content[1].text, row[4] and content[2].text, images })
    end)
  end

  -- What is selected: the buffer, the keys that select it, settings, and the text that is sent.
  local umlauts = { "one z\195\164hle", "\240\159\152\128e\204\129 two", "\tthree" }
  for name, row in pairs {
    ["characters, the last of several bytes"] = { "ggfzvl", "z\195\164" },
    ["one character of four bytes"] = { "2G0v", "\240\159\152\128" },
    ["a character with one that combines"] = { "2G0lv", "e\204\129" },
    ["characters of several lines"] = { "ggfzvj0", "z\195\164hle\n\240\159\152\128" },
    ["to the end of a line"] = { "ggfzv$", "z\195\164hle" },
    ["backwards"] = { "ggfhvb", "z\195\164h" },
    ["characters without the last"] = { "ggfzvll", "z\195\164", "set selection=exclusive" },
    ["whole lines"] = { "ggfzVj", "one z\195\164hle\n\240\159\152\128e\204\129 two" },
    ["a block"] = { "gg0l<C-v>lj", "ne\n\240\159\152\128e\204\129" },
    ["a block with a tab"] = { "gg0l<C-v>ljj", "one z\195\164hl\n\240\159\152\128e\204\129 two\n\t" },
    ["a block to the ends"] = { "gg0f <C-v>j$", " z\195\164hle\n two" },
    ["a block to the ends, from below"] = { "2Gf <C-v>k$", " z\195\164hle\n two" },
    ["a block without its last column"] = { "gg0<C-v>jll", "one\n\240\159\152\128e\204\129",
      "set selection=exclusive" },
    ["a range beside a selection of the same lines"] = { "ggfzvl<Esc>:1,1Lmm q<CR>", "one z\195\164hle" },
    ["a range beside a selection of other lines"] = { "ggfzvl<Esc>:1,2",
      "one z\195\164hle\n\240\159\152\128e\204\129 two" },
    ["the selection by its marks"] = { "ggfzvl<Esc>G:'<lt>,'>", "z\195\164" },
    ["one line by its number"] = { "ggfzvl<Esc>:1", "one z\195\164hle" },
  } do
    case("a selection goes along: " .. name, { plugin.answer "Seen." }, function(ed, server)
      plugin.fill(ed, umlauts)
      ed:lua(("vim.cmd %q"):format(row[3] or ""))
      local keys = row[1]
      if not keys:find ":" then keys = keys .. ":" end
      ed:keys(keys:find "Lmm" and keys or keys .. "Lmm q<CR>")
      plugin.wait_split(ed, "Seen.")
      assert.equal(row[2], plugin.sent(server, 1)[2].text)
    end)
  end

  case("a selection goes along by a mapping", { plugin.answer "Seen." }, function(ed, server)
    plugin.fill(ed, umlauts)
    ed:lua "vim.keymap.set('x', 'Q', ':Lmm What?<CR>')"
    ed:keys ":1Lmm<CR>ggfzvlQ"
    plugin.wait_split(ed, "Seen.")
    assert.equal("z\195\164", plugin.sent(server, 1)[2].text)
  end)

  case("a path is looked for beside the buffer's file first", { plugin.answer "Seen." }, function(ed, server)
    process.shell("cd " .. ed.folder
      .. " && mkdir notes && mv picture.jpg notes && echo '![a](picture.jpg)' >notes/a.md")
    ed:keys ":edit notes/a.md<CR>:Lmm What?<CR>"
    plugin.wait_split(ed, "Seen.")
    assert.matches("^data:image/jpeg;base64,/9j/", plugin.sent(server, 1)[2].image_url.url)
  end)

  case("a picture that is missing is named beside the buffer's file", nil, function(ed)
    process.shell("cd " .. ed.folder .. " && mkdir notes && echo '![a](gone%20.jpg)' >notes/a.md")
    ed:keys ":edit notes/a.md<CR>:Lmm What?<CR>"
    assert.matches("cannot read '[^\n]*/notes/gone %.jpg'", plugin.wait_split(ed, "*"))
  end)

  case(":Lmm completes paths after -i", { { { hold = true } } }, function(ed)
    local got = ed:lua [[
      vim.fn.writefile({}, "a b.jpg")
      return { vim.fn.getcompletion("Lmm -i pic", "cmdline"), vim.fn.getcompletion("Lmm -i a", "cmdline"),
        vim.fn.getcompletion("'<,'>Lmm! -i a\\ b.jpg -i pic", "cmdline"),
        vim.fn.getcompletion("Lmm pic", "cmdline"), vim.fn.getcompletion("Lmm What is -i pic", "cmdline") }]]
    assert.same({ { "picture.jpg" }, { "a\\ b.jpg" }, { "picture.jpg" }, {}, {} }, got)
  end)

  for name, row in pairs {
    ["a question"] = { ":Lmm -i gone.jpg<CR>", "^a question is missing: :Lmm %-i picture%.jpg What is this%?$" },
    ["a path"] = { ":Lmm -i<CR>", "^a path is missing behind %-i: :Lmm %-i picture%.jpg What is this%?$" },
    ["a path behind a path"] = { ":Lmm -i picture.jpg -i <CR>", "^a path is missing behind %-i" },
    ["how a space is written"] = { ":Lmm -i \"my pics/x.jpg\" What?<CR>",
      "^a path stands without quotes, and a space in it is \"\\ \": \"my$" },
  } do
    case("what is missing is told: " .. name, nil, function(ed)
      ed:keys(row[1])
      assert.matches(row[2], plugin.wait_said(ed))
      assert.same({ 1, 1 }, ed:lua "return { #said, #vim.api.nvim_list_wins() }")
    end)
  end
end)
