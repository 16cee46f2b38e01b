-- The example plugin in real editors: what the commands send, where answers go, and what ends them.
local json = require "lmm.json"
local nvim = require "spec.support.nvim"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"
local test = require "spec.support.test"

local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local END = replies.delta({}, "stop") .. replies.event "[DONE]"

--- A connection that streams these pieces.
local function answer(...)
  local steps = { { await = "request" }, { send = HEAD } }
  for _, piece in ipairs { ... } do steps[#steps + 1] = { send = replies.delta(piece) } end
  steps[#steps + 1] = { send = END }
  return steps
end

--- A connection that answers with JSON.
local function whole(value, status)
  local body = json.encode(value)
  return { { await = "request" }, { send = ("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"):format(status or "200 OK",
    #body, body) } }
end

local BEGUN = { { await = "request" }, { send = HEAD .. replies.delta "begun" }, { hold = true } }
local MODELS = whole { object = "list", data = { { id = "one" }, { id = "other" } } }

local editors = nvim.editors()
local plugin = nvim.plugin()

--- A case in each editor, with a server of these scenarios; nil is a server that is not there.
local function case(name, scenarios, fn)
  for _, editor in ipairs(editors) do
    test.case(name .. " (" .. editor.name .. ")", function()
      if not editor.program then test.skip "it is not there" end
      local server = scenarios and raw.start(scenarios)
      local opts = { program = editor.program, plugin = plugin, url = server and server.url,
        init = "require('lmm_nvim').setup { model = 'm', retry = false }" }
      local ok, problem = pcall(nvim.with, opts, function(ed) fn(ed, server) end)
      if server then server:stop() end
      if not ok then error(problem, 0) end
      test.ok(not problem:find "Error", problem)
    end)
  end
end

--- Waits until the scratch buffer holds a text, and gives all of it.
local SPLIT = [[
for _, window in ipairs(vim.api.nvim_list_wins()) do
  local buffer = vim.api.nvim_win_get_buf(window)
  if vim.bo[buffer].buftype == "nofile" then
    return table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, true), "\n")
  end
end]]
local function wait_split(ed, ending)
  return process.wait_for(ending .. " in the split", function()
    local text = ed:lua(SPLIT)
    return text and text:sub(-#ending) == ending and text
  end)
end

local function buffer(ed)
  return ed:lua "return vim.api.nvim_buf_get_lines(0, 0, -1, true)"
end

--- Waits until no answer is under way any more.
local function wait_idle(ed)
  ed:wait_for("the answer's end", "return vim.fn.maparg('<C-c>', 'n') == ''")
end

--- The messages of a request, decoded; the content of the last one.
local function sent(server, connection)
  server:wait("request", connection)
  local body = server:received(connection):match "\r\n\r\n(.*)$"
  local messages = json.clean(json.decode(body)).messages
  return messages[#messages].content, messages, body
end

case("an answer streams into a split; a second question continues the conversation",
  { { { await = "request" }, { dribble = HEAD .. replies.delta "z\195\164h\n\n" .. replies.delta "- \240\159\152\128\n",
    every = 0 }, { send = replies.delta "- b\r" .. replies.delta "\n\tc" .. END } }, answer("Yes", ".") },
  function(ed, server)
    ed:keys ":Lmm What is it?<CR>"
    test.equal(wait_split(ed, "\tc"), "> What is it?\n\nz\195\164h\n\n- \240\159\152\128\n- b\n\tc")
    test.equal(buffer(ed), { "" })
    wait_idle(ed)
    ed:keys ":Lmm Really?<CR>"
    test.match(wait_split(ed, "Yes."), "\n\tc\n\n> Really%?\n\nYes%.$")
    local _, messages = sent(server, 2)
    test.equal(messages, { { role = "user", content = "What is it?" }, { role = "assistant",
      content = "z\195\164h\n\n- \240\159\152\128\n- b\r\n\tc" }, { role = "user", content = "Really?" } })
    test.equal(ed:lua "return #vim.api.nvim_list_wins()", 2)
    test.equal(ed:lua "return said", {})
    ed:keys ":LmmNew<CR>:Lmm Again?<CR>"
    test.equal(#select(2, sent(server, 3)), 1)
  end)

case("with ! it goes under the cursor, whatever is written elsewhere", {
  { { await = "request" }, { send = HEAD .. replies.delta "one\ntw" }, { await_all = 2 },
    { send = replies.delta "o\n" .. replies.delta "three" .. END } }, MODELS }, function(ed)
  ed:lua "vim.api.nvim_buf_set_lines(0, 0, -1, true, { 'first', 'last' })"
  ed:keys ":Lmm! Count<CR>"
  ed:wait_for("text", "return vim.fn.getline(3) == 'tw'")
  ed:lua [[
    vim.api.nvim_buf_set_lines(0, 0, 0, true, { "above" })
    require("lmm").go(function() require("lmm_nvim").client():models() end)]]
  wait_idle(ed)
  test.equal(buffer(ed), { "above", "first", "one", "two", "three", "last" })
end)

case("with ! and a selection it goes below the selection", { answer "three" }, function(ed, server)
  ed:lua "vim.api.nvim_buf_set_lines(0, 0, -1, true, { 'one', 'two', 'last' })"
  ed:keys "ggVj:Lmm! Count<CR>"
  ed:wait_for("text", "return vim.fn.getline(3) == 'three'")
  test.equal(buffer(ed), { "one", "two", "three", "last" })
  test.equal(sent(server, 1)[2].text, "one\ntwo")
end)

case("with ! one undo takes a whole answer back", { answer("a", "b", "\nc", "d") }, function(ed)
  ed:lua "vim.api.nvim_buf_set_lines(0, 0, -1, true, { 'first' })"
  ed:keys ":Lmm! q<CR>"
  ed:wait_for("text", "return vim.fn.getline(3) == 'cd'")
  wait_idle(ed)
  ed:keys "u"
  test.equal(buffer(ed), { "first" })
end)

-- An answer that waits in its middle until the models are asked for.
local IN_TWO = { { await = "request" }, { send = HEAD .. replies.delta "one" .. replies.delta ", two" },
  { await_all = 2 }, { send = replies.delta ", three" .. replies.delta ", four" .. END } }
local GO_ON = "require('lmm').go(function() require('lmm_nvim').client():models() end)"

-- What is typed elsewhere while an answer comes, and what the buffer is after each undo.
for name, row in pairs {
  ["in normal mode"] = { "ggAx<Esc>", { "firstx", "one, two", "last" }, { "first", "one, two", "last" } },
  ["in insert mode"] = { "", { "firstx", "last" }, { "first", "last" }, before = "ggAx" },
  ["and undone"] = { "ggAx<Esc>u", { "first", "one, two", "last" }, { "first", "last" } },
} do
  case("with ! an undo leaves apart what is typed meanwhile " .. name, { IN_TWO, MODELS }, function(ed)
    ed:lua "vim.api.nvim_buf_set_lines(0, 0, -1, true, { 'first', 'last' })"
    ed:keys(":Lmm! q<CR>" .. (row.before or ""))
    ed:wait_for("text", "return vim.fn.getline(2) == 'one, two'")
    ed:keys(row[1])
    ed:lua(GO_ON)
    ed:wait_for("the end", "return vim.fn.getline(2) == 'one, two, three, four'")
    ed:keys "<Esc>u"
    test.equal(buffer(ed), row[2])
    ed:keys "u"
    test.equal(buffer(ed), row[3])
  end)
end

for name, how in pairs {
  ["<C-c>"] = "<C-c>", ["<C-c> in the split"] = "<C-c>", ["closing the window of the split"] = "<C-w>c",
  ["wiping the buffer of the split"] = ":bwipeout!<CR>", [":LmmStop"] = ":LmmStop<CR>",
} do
  case(name .. " cancels, and the server sees it", { BEGUN, answer "second" }, function(ed, server)
    ed:keys ":Lmm q<CR>"
    wait_split(ed, "begun")
    if name:find "split" then
      ed:keys "<C-w>j"
      ed:wait_for("the split", "return vim.bo.buftype == 'nofile'")
    end
    ed:keys(how)
    server:wait "closed"
    ed:keys ":Lmm r<CR>"
    local first = name:find "wiping" and "" or "> q\n\nbegun\n\n*cancelled*\n\n"
    test.equal(wait_split(ed, "second"), first .. "> r\n\nsecond")
    test.equal(#select(2, sent(server, 2)), 1) -- what was cancelled is not in the history
    test.equal(ed:lua "return said", {})
  end)
end

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
  local scenario = { IN_TWO[1], IN_TWO[2], IN_TWO[3], { send = replies.delta ", three" }, { hold = true } }
  case("with ! the answer's place is gone: " .. name, { scenario, MODELS }, function(ed, server)
    ed:lua "vim.api.nvim_buf_set_lines(0, 0, -1, true, { 'top', '', 'bottom' })"
    ed:keys "gg:Lmm! q<CR>"
    ed:wait_for("text", "return vim.fn.getline(2) == 'one, two'")
    ed:keys(row[1])
    test.equal(buffer(ed), row[2])
    ed:lua(GO_ON)
    server:wait "closed"
    wait_idle(ed)
    test.equal(buffer(ed), row[2])
    test.equal(ed:lua "return { #said, said[1][1] }", { 1,
      "lmm: the answer is cancelled: its place in the buffer is gone" })
  end)
end

for name, how in pairs { ["<C-c>"] = "<C-c>", ["hiding the buffer"] = ":enew<CR>", ["a question"] = ":Lmm r<CR>" } do
  case(name .. " cancels an answer of !, and that is told", { BEGUN, answer "second" }, function(ed, server)
    ed:keys ":Lmm! q<CR>"
    ed:wait_for("text", "return vim.fn.getline(2) == 'begun'")
    ed:keys(how)
    server:wait "closed"
    wait_idle(ed)
    test.equal(ed:lua "return { #said, said[1][1] }", { 1, "lmm: the answer is cancelled" })
  end)
end

-- What <C-c> may be already in the buffer, and Lua code that tells of its having been typed.
for name, row in pairs {
  ["a command"] = { [[vim.cmd 'nnoremap <buffer> <silent> <C-c> :let typed = "a<Bar>b"<CR>']],
    "return vim.g.typed == 'a|b'" },
  ["a function"] = { "vim.keymap.set('n', '<C-c>', function() typed = true end, { buffer = true })", "return typed" },
} do
  for _, command in ipairs { ":Lmm q<CR>", ":Lmm! q<CR>" } do
    case("<C-c> is the user's again after " .. command .. ": " .. name, { BEGUN }, function(ed, server)
      ed:lua(row[1])
      ed:keys(command)
      server:wait "request"
      ed:keys "<C-c>"
      server:wait "closed"
      ed:wait_for("its mapping", "return vim.fn.maparg('<C-c>', 'n', false, true).desc ~= 'Cancel the answer'")
      test.ok(not ed:lua(row[2]))
      ed:keys "<C-c>"
      ed:wait_for("what it does", row[2])
    end)
  end
end

case("a buffer that becomes unmodifiable ends the answer", {
  { { await = "request" }, { send = HEAD .. replies.delta "begun" }, { await_all = 2 }, { send = replies.delta "more" },
    { hold = true } }, MODELS }, function(ed, server)
  ed:keys ":Lmm q<CR>"
  wait_split(ed, "begun")
  ed:lua [[
    for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
      if vim.bo[buffer].buftype == "nofile" then vim.bo[buffer].modifiable = false end
    end
    require("lmm").go(function() require("lmm_nvim").client():models() end)]]
  server:wait("closed", 1)
  wait_idle(ed)
  test.equal(#ed:wait_for("the message", "return said[1] and said"), 1)
  test.match(ed:lua "return said[1][1]", "^[^\n]*'modifiable'[^\n]*$")
  test.equal(ed:lua "return #vim.api.nvim_get_autocmds { event = 'BufWinLeave' }", 0)
end)

case("a question while an answer comes takes its place", { BEGUN, answer "second" }, function(ed, server)
  ed:keys ":Lmm q<CR>"
  wait_split(ed, "begun")
  ed:keys ":Lmm r<CR>"
  test.match(wait_split(ed, "second"), "begun\n\n%*cancelled%*\n\n> r\n\nsecond$")
  test.equal(server:wait("closed")[1].connection, 1)
end)

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
  case("what goes along: " .. name, { answer "Seen." }, function(ed, server)
    process.shell("cd " .. ed.folder .. " && for i in ' ' '(' %25; do cp picture.jpg \"a${i}b.jpg\"; done")
    ed:lua(("vim.api.nvim_buf_set_lines(0, 0, -1, true, vim.split(%q, ' / '))"):format(row[1]))
    ed:keys(row[2])
    wait_split(ed, "Seen.")
    local content = sent(server, 1)
    if type(content) == "string" then content = { { type = "text", text = content } } end
    local images = 0
    for _, part in ipairs(content) do
      if part.type == "image_url" then
        images = images + 1
        test.ok(part.image_url.url:find(row[6] or "data:image/jpeg;base64,/9j/", 1, true) == 1, part.image_url.url)
      end
    end
    test.equal({ content[1].text, row[4] and content[2].text, images }, { row[3], row[4], row[5] or 0 })
  end)
end

case("a path is looked for beside the buffer's file first", { answer "Seen." }, function(ed, server)
  process.shell("cd " .. ed.folder .. " && mkdir notes && mv picture.jpg notes && echo '![a](picture.jpg)' >notes/a.md")
  ed:keys ":edit notes/a.md<CR>:Lmm What?<CR>"
  wait_split(ed, "Seen.")
  test.match(sent(server, 1)[2].image_url.url, "^data:image/jpeg;base64,/9j/")
end)

case("a picture that is missing is named beside the buffer's file", nil, function(ed)
  process.shell("cd " .. ed.folder .. " && mkdir notes && echo '![a](gone%20.jpg)' >notes/a.md")
  ed:keys ":edit notes/a.md<CR>:Lmm What?<CR>"
  test.match(wait_split(ed, "*"), "cannot read '[^\n]*/notes/gone %.jpg'")
end)

case(":Lmm completes paths after -i", { { { hold = true } } }, function(ed)
  local got = ed:lua [[
    vim.fn.writefile({}, "a b.jpg")
    return { vim.fn.getcompletion("Lmm -i pic", "cmdline"), vim.fn.getcompletion("Lmm -i a", "cmdline"),
      vim.fn.getcompletion("'<,'>Lmm! -i a\\ b.jpg -i pic", "cmdline"),
      vim.fn.getcompletion("Lmm pic", "cmdline"), vim.fn.getcompletion("Lmm What is -i pic", "cmdline") }]]
  test.equal(got, { { "picture.jpg" }, { "a\\ b.jpg" }, { "picture.jpg" }, {}, {} })
end)

case(":LmmModel completes from the server, and is asked", { MODELS, answer "ok" }, function(ed, server)
  test.equal(ed:lua "return vim.fn.getcompletion('LmmModel ot', 'cmdline')", { "other" })
  ed:keys ":LmmModel other<CR>:Lmm q<CR>"
  wait_split(ed, "ok")
  test.match(select(3, sent(server, 2)), '"model":"other"')
  ed:keys ":LmmModel<CR>"
  test.match(ed:lua "return said[1][1]", "other")
end)

case("errors are told, with the hint, and stand under their questions", nil, function(ed)
  ed:keys ":Lmm q<CR>"
  test.match(ed:wait_for("the message", "return said[1] and said[1][1]"), "cannot reach .*is a server running there")
  test.match(wait_split(ed, "*"), "^> q\n\n%*failed: cannot reach [^\n]*%*$")
  wait_idle(ed)
  ed:keys ":Lmm -i gone.jpg r<CR>"
  test.match(ed:wait_for("the message", "return said[2] and said[2][1]"), "cannot read '.*gone%.jpg'")
  test.match(wait_split(ed, "directory*"), "%*\n\n> r\n\n%*failed: cannot read [^\n]*%*$")
  test.equal(ed:lua "return { vim.fn.getcompletion('LmmModel o', 'cmdline'), said[3][2] == vim.log.levels.ERROR }",
    { {}, true })
end)

local CUT = { { await = "request" }, { send = HEAD .. replies.delta "begun" } }

case("a split that cannot be changed is told", { answer "a", answer "b" }, function(ed)
  ed:keys ":Lmm q<CR>"
  wait_split(ed, "a")
  wait_idle(ed)
  ed:keys "<C-w>j:set nomodifiable<CR>:Lmm r<CR>"
  test.equal(ed:wait_for("the message", "return said[1] and said[1][1]"),
    "lmm: the answers' buffer is locked: :set modifiable in it")
  ed:keys ":set modifiable<CR>:Lmm r<CR>"
  wait_split(ed, "> r\n\nb")
end)

case("what breaks off says so under what had come", { CUT }, function(ed)
  ed:keys ":Lmm q<CR>"
  test.match(wait_split(ed, "*"), "^> q\n\nbegun\n\n%*failed: [^\n]*%*$")
end)

case("what is cancelled before anything came leaves the question", { { { await = "request" }, { hold = true } } },
  function(ed, server)
    ed:keys ":Lmm q<CR>"
    server:wait "request"
    ed:keys "<C-c>"
    server:wait "closed"
    wait_idle(ed)
    test.equal(ed:lua(SPLIT), "> q\n\n*cancelled*")
  end)

case("with ! a failure changes nothing", nil, function(ed)
  ed:keys ":Lmm! q<CR>"
  ed:wait_for("the message", "return said[1]")
  wait_idle(ed)
  test.equal({ buffer(ed), ed:lua "return vim.bo.modified" }, { { "" }, false })
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
    test.match(ed:wait_for("the message", "return said[1] and said[1][1]"), row[2])
    test.equal(ed:lua "return { #said, #vim.api.nvim_list_wins() }", { 1, 1 })
  end)
end

local REFUSAL = whole({ error = { message = "too busy today" } }, "400 Bad Request")

case("a server's refusal is told", { REFUSAL }, function(ed)
  ed:keys ":Lmm q<CR>"
  test.match(ed:wait_for("the message", "return said[1] and said[1][1]"), "HTTP 400 from .*too busy today")
end)

case(":checkhealth lmm and :help lmm", { MODELS }, function(ed)
  local text = ed:lua "vim.cmd 'checkhealth lmm' return table.concat(vim.fn.getline(1, '$'), '\\n')"
  for _, expected in ipairs { "the library loads", "JSON by ", "answers", "model other" } do
    test.ok(text:find(expected, 1, true), expected .. " is not in " .. text)
  end
  test.ok(not text:find "ERROR", text)
  test.match(ed:lua "vim.cmd 'help lmm' return vim.fn.expand '%:p'", "/examples/nvim/doc/lmm%.txt$")
  test.match(ed:lua "return vim.fn.getline '.'", "%*lmm%*")
end)

case(":checkhealth lmm without a server says so", nil, function(ed)
  local text = ed:lua "vim.cmd 'checkhealth lmm' return table.concat(vim.fn.getline(1, '$'), '\\n')"
  test.match(text, "ERROR.*cannot reach .*is a server running there.*OPENAI_BASE_URL")
end)

-- ---- the README's examples: for a plugin manager, for an installation by hand, and a task ----

local examples = {}
for code in process.read "README.md":gmatch "```lua nvim\n(.-)\n```" do examples[#examples + 1] = code end

case("the README's entry for a plugin manager", { answer "ok" }, function(ed, server)
  ed:lua(("local entry = (function() %s end)() entry.config { dir = %q } assert(entry.build == 'make nvim')"):format(
    examples[1], plugin))
  ed:lua "require('lmm_nvim').setup { model = 'm', system = 'Answer in one sentence.' }"
  ed:keys ":Lmm q<CR>"
  wait_split(ed, "ok")
  test.equal(select(2, sent(server, 1))[1].content, "Answer in one sentence.")
end)

for _, editor in ipairs(editors) do
  test.case("the README's lines for a clone among the packages (" .. editor.name .. ")", function()
    if not editor.program then test.skip "it is not there" end
    local folder = os.tmpname()
    local start = folder .. "/nvim/site/pack/lmm/start"
    process.shell(("rm %s; mkdir -p %s && ln -s %s %s/lmm"):format(folder, start, plugin, start))
    process.write(folder .. "/nvim/init.lua", examples[2])
    local text = nvim.run(folder, "export HOME=$PWD XDG_CONFIG_HOME=$PWD XDG_DATA_HOME=$PWD XDG_STATE_HOME=$PWD; "
      .. process.quote(editor.program) .. [[ --headless -n -i NONE -c 'help lmm' -c "lua
        io.write(vim.fn.exists ':Lmm', ' ', vim.fn.expand '%:t', ' ', type(require('lmm_nvim').client()))" -c 'qa!']])
    process.shell("rm -rf " .. folder)
    test.equal(text, "2 lmm.txt tableexit 0\n")
  end)
end

case("the README's task", { MODELS, answer("a\n", "b") }, function(ed)
  test.equal(#examples, 3)
  ed:lua(examples[3])
  ed:wait_for("the answer", "return vim.fn.getline(2) == 'b'")
  ed:keys "<C-c>" -- harmless after the end
  test.equal(ed:lua "return said", {})
end)

-- ---- the screen ----

for _, editor in ipairs(editors) do
  test.case("the answer is on the screen (" .. editor.name .. ")", function()
    if not editor.program then test.skip "it is not there" end
    local server = raw.start { answer("z\195\164h\n", "end of it") }
    local screen = nvim.screen { program = editor.program, plugin = plugin, url = server.url,
      init = "require('lmm_nvim').setup { model = 'm' }" }
    local ok, problem = pcall(function()
      screen:type ":Lmm What is it?\r"
      local text = process.wait_for("the answer on the screen", function()
        local shown = screen:text()
        return shown:find "end of it" and shown
      end)
      test.match(text, "> What is it%?\n\nz\195\164h\nend of it\n")
      screen:type ":qa!\r"
      process.wait_for("the editor's end", function() return not screen:is_running() end)
    end)
    screen:stop()
    server:stop()
    if not ok then error(problem, 0) end
  end)
end

process.shell("rm -rf " .. plugin)
