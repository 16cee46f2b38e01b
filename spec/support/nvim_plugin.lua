--- The plugin in real editors: what a server answers and what is done in the editor come in; what the buffers hold and
--- what was sent go out.
local assert = require "luassert"
local json = require "lmm.json"
local nvim = require "spec.support.nvim"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"

local plugin = {}

plugin.HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
plugin.END = replies.delta({}, "stop") .. replies.event "[DONE]"

--- A connection that streams these pieces.
function plugin.answer(...)
  local steps = { { await = "request" }, { send = plugin.HEAD } }
  for _, piece in ipairs { ... } do steps[#steps + 1] = { send = replies.delta(piece) } end
  steps[#steps + 1] = { send = plugin.END }
  return steps
end

--- A connection that answers with JSON.
function plugin.whole(value, status)
  local body = json.encode(value)
  return { { await = "request" }, { send = ("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"):format(status or "200 OK",
    #body, body) } }
end

--- A connection that sends the beginning of an answer and no more.
plugin.BEGUN = { { await = "request" }, { send = plugin.HEAD .. replies.delta "begun" }, { hold = true } }

--- A connection on which nothing comes.
plugin.SILENT = { { await = "request" }, { hold = true } }

plugin.MODELS = plugin.whole { object = "list", data = { { id = "one" }, { id = "other" } } }

--- An answer that waits in its middle until another request has come; `plugin.go_on` sends that.
plugin.IN_TWO = { { await = "request" }, { send = plugin.HEAD .. replies.delta "one" .. replies.delta ", two" },
  { await_all = 2 }, { send = replies.delta ", three" .. replies.delta ", four" .. plugin.END } }

function plugin.go_on(ed)
  ed:lua "require('lmm').go(function() require('lmm.nvim').client():models() end)"
end

--- Calls `fn(editor, server)` with an editor that has the plugin, and a server of these scenarios; nil is one that is
--- not there. Whatever the editor prints on its own is a failure.
---@param opts { program: string, plugin: string, init: string? }
function plugin.run(opts, scenarios, fn)
  local server = scenarios and raw.start(scenarios)
  local ok, problem = pcall(nvim.with, { program = opts.program, plugin = opts.plugin, url = server and server.url,
    init = opts.init or "require('lmm.nvim').setup { model = 'm', retry = false, dialect = 'generic' }" },
    function(ed) fn(ed, server) end)
  if server then server:stop() end
  if not ok then error(problem, 0) end
  assert.falsy(problem:find "Error", problem)
end

-- The text of the conversation's buffer, and whether a window shows it.
local SPLIT = [[
for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
  if vim.bo[buffer].buftype == "nofile" and vim.bo[buffer].filetype == "markdown" then
    return { table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, true), "\n"), vim.fn.bufwinid(buffer) ~= -1 }
  end
end]]

--- The text of the conversation's buffer, and whether a window shows it.
---@return string? text, boolean? is_shown
function plugin.split(ed)
  local found = ed:lua(SPLIT) or {}
  return found[1], found[2]
end

--- Waits until the conversation's buffer ends with a text, and gives all of it.
function plugin.wait_split(ed, ending)
  return process.wait_for(ending .. " in the split", function()
    local text = plugin.split(ed)
    return text and text:sub(-#ending) == ending and text
  end)
end

--- The lines of the current buffer.
function plugin.buffer(ed)
  return ed:lua "return vim.api.nvim_buf_get_lines(0, 0, -1, true)"
end

--- Makes these the lines of the current buffer.
function plugin.fill(ed, lines)
  ed:lua(("vim.api.nvim_buf_set_lines(0, 0, -1, true, vim.json.decode(%q))"):format(json.encode(lines)))
end

--- Waits until no answer is under way any more.
function plugin.wait_idle(ed)
  ed:wait_for("the answer's end", "return vim.fn.maparg('<C-c>', 'n', false, true).desc ~= 'Cancel the answer'")
end

--- Waits for a notification, the first unless another is meant, and gives its text.
function plugin.wait_said(ed, count)
  return ed:wait_for("the message", ("return said[%d] and said[%d][1]"):format(count or 1, count or 1))
end

--- What is shown behind a line, or under it, without being in the buffer: the virtual text of each mark, in order.
function plugin.shown(ed)
  return ed:lua [[
    local found = {}
    for _, namespace in pairs(vim.api.nvim_get_namespaces()) do
      for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
        for _, chunk in ipairs(mark[4].virt_text or {}) do table.insert(found, { mark[2], chunk[1] }) end
        for _, line in ipairs(mark[4].virt_lines or {}) do table.insert(found, { mark[2], "- " .. line[1][1] }) end
        if mark[4].hl_group == "DiffAdd" then table.insert(found, { mark[2], "+" .. mark[4].end_row - mark[2] }) end
      end
    end
    table.sort(found, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
    return found]]
end

--- The content of the last message of a request, all of its messages, and the body.
function plugin.sent(server, connection)
  server:wait("request", connection)
  local body = server:received(connection):match "\r\n\r\n(.*)$"
  local messages = json.clean(json.decode(body)).messages
  return messages[#messages].content, messages, body
end

--- For a spec's setup and teardown: puts the plugin into a folder, `plugin.folder`, as a plugin manager has it.
function plugin.install()
  plugin.folder = nvim.plugin()
end

function plugin.remove()
  os.execute("rm -rf " .. plugin.folder)
end

--- Gives `case(name, scenarios, fn, init)`: a case in each editor, with a server of these scenarios, nil being a server
--- that is not there. `it` and `pending` are busted's.
function plugin.cases(it, pending)
  return function(name, scenarios, fn, init)
    for _, editor in ipairs(nvim.editors()) do
      it(name .. " (" .. editor.name .. ")", function()
        if not editor.program then pending "it is not there" end
        plugin.run({ program = editor.program, plugin = plugin.folder, init = init }, scenarios, fn)
      end)
    end
  end
end

--- Gives `screen_case(name, scenarios, fn)`: a case in each editor, run in a terminal, for `fn(screen, wait)`, where
--- `wait(what, look)` waits until `look(text)` gives something for the text on the screen, and gives that.
function plugin.screen_cases(it, pending)
  return function(name, scenarios, fn)
    for _, editor in ipairs(nvim.editors()) do
      it(name .. " (" .. editor.name .. ")", function()
        if not editor.program then pending "it is not there" end
        local server = raw.start(scenarios)
        local screen = nvim.screen { program = editor.program, plugin = plugin.folder, url = server.url,
          init = "require('lmm.nvim').setup { model = 'm', dialect = 'generic' }" }
        local ok, problem = pcall(function()
          fn(screen, function(what, look)
            return process.wait_for(what .. " on the screen", function() return look(screen:text()) end)
          end)
          screen:type ":qa!\r"
          process.wait_for("the editor's end", function() return not screen:is_running() end)
        end)
        screen:stop()
        server:stop()
        if not ok then error(problem, 0) end
      end)
    end
  end
end

return plugin
