-- examples/nvim/alt_text.lua in real editors.
local plugin = require "spec.support.nvim_plugin"
local shell = require "spec.support.shell"

local here = shell.output "pwd":match "^[^\n]+"
local in_each = plugin.cases(it, pending)

--- A case in each editor that has the example.
local function case(name, scenarios, fn)
  in_each(name, scenarios, fn, ("vim.cmd 'source %s/examples/nvim/alt_text.lua'"):format(here))
end

--- A connection that answers with the whole of this text.
local function reply(text)
  return plugin.whole { choices = { { index = 0, finish_reason = "stop", message = { role = "assistant",
    content = text } } } }
end

describe(":AltText of the example", function()
  setup(plugin.install)
  teardown(plugin.remove)

  it("is one file of at most forty lines", function()
    local names = shell.output "ls examples/nvim"
    local lines = select(2, shell.read "examples/nvim/alt_text.lua":gsub("\n", ""))
    assert.equal("alt_text.lua\n", names)
    assert.is_true(lines <= 40)
  end)

  case("writes what the picture under the cursor shows", { plugin.MODELS, reply " A road\n[at night]. " },
    function(ed, server)
      shell.run("cd %s && mkdir notes && mv picture.jpg notes", ed.folder)
      shell.write(ed.folder .. "/notes/a.md", "See ![](picture.jpg) and ![x](other.jpg \"title\").\n")
      ed:keys ":edit notes/a.md<CR>f!:AltText<CR>"
      ed:wait_for("the text", "return vim.fn.getline(1):find 'road' ~= nil")
      assert.same({ "See ![A road \\[at night\\].](picture.jpg) and ![x](other.jpg \"title\")." },
        plugin.buffer(ed))
      assert.matches("^data:image/jpeg;base64,/9j/", plugin.sent(server, 2)[2].image_url.url)
      assert.same({ {}, {} }, { ed:lua "return said", plugin.shown(ed) })
    end)

  case("replaces a text that is there, and follows edits elsewhere", { plugin.MODELS,
    { { await = "request" }, { await_all = 3 }, reply("new")[2] }, plugin.MODELS }, function(ed, server)
    shell.write(ed.folder .. "/a.md", "![old text](picture.jpg)\n")
    ed:keys ":edit a.md<CR>:AltText<CR>"
    server:wait("request", 2)
    assert.same({ { 0, "looking at it ..." } }, plugin.shown(ed))
    ed:keys "Oabove<Esc>"
    plugin.go_on(ed)
    ed:wait_for("the text", "return vim.fn.getline(2) == '![new](picture.jpg)'")
  end)

  case("tells what goes wrong", nil, function(ed)
    ed:keys ":AltText<CR>"
    assert.equal("there is no image under the cursor", plugin.wait_said(ed))
    shell.write(ed.folder .. "/a.md", "![](gone.jpg)\n")
    ed:keys ":edit a.md<CR>:AltText<CR>"
    assert.matches("cannot read '[^\n]*/gone%.jpg'", plugin.wait_said(ed, 2))
    assert.same({ { "![](gone.jpg)" }, {} }, { plugin.buffer(ed), plugin.shown(ed) })
  end)
end)
