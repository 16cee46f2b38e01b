--- The plugin's state: the settings, the client and the conversation made of them, and the answer under way. Questions
--- come in; each answer is read in a task, so that the editor goes on, and written where it belongs.
-- luacheck: globals vim unpack
local notify = require "lmm.nvim.notify"

local api = vim.api

local session = {}

local settings = {}
local client, chat  -- made by the first question
local chosen        -- the model that :LmmModel chose
local current       -- the answer under way

-- What setup takes: what lmm.connect does, and two of its own.
local rows = {
  system = "string", params = "table", user_agent = "string", prices = "table",
  base_url = "string|table", api_key = "string|function", model = "string", headers = "table", timeout = "number|table",
  retry = "table|function|boolean", proxy = "string|boolean", tls = "table", unix_socket = "string", limits = "table",
  dialect = "string|table", media_cache = "boolean", log = "string|boolean", log_media = "boolean", cache = "boolean",
}

--- Whether all options are known and of the right type. The module that says what was meant is loaded only where not.
local function is_right(opts)
  for name, value in pairs(opts) do
    if not (rows[name] and ("|" .. rows[name] .. "|"):find("|" .. type(value) .. "|", 1, true)) then return false end
  end
  return true
end

function session.setup(opts)
  opts = opts or {}
  if type(opts) ~= "table" or not is_right(opts) then require("lmm.options").check("lmm.nvim.setup", rows, opts) end
  if opts.params and opts.params.system then
    require("lmm.errors").misuse "lmm.nvim.setup: system is an option beside params, not one of them"
  end
  settings = vim.deepcopy(opts)
  if session.is_used then session.reset() end
  client, chosen = nil, nil
end

--- Why the library does not load, and what to do, on one line; nil where it loads.
---@return string?
function session.problem()
  for _, name in ipairs { "lmm.core", "lmm.curl" } do
    local loads, why = pcall(require, name)
    if not loads then
      local file = debug.getinfo(require("lmm").connect, "S").source:sub(2) -- FOLDER/lua/lmm/init.lua
      why = why:match "^(module [^\n]* not found):" or why:gsub("%s+", " ")
      return why .. ": run `make nvim` in " .. vim.fn.fnamemodify(file, ":h:h:h")
    end
  end
end

--- The client, made of the settings. It raises where they are refused, or the library does not load.
---@return lmm.Client
function session.client()
  if client then return client end
  local problem = session.problem()
  if problem then error(problem, 0) end
  local opts = vim.deepcopy(settings)
  opts.system, opts.params = nil, nil
  client = require("lmm").connect(opts)
  return client
end

local function new_conversation()
  local fields = vim.deepcopy(settings.params or {})
  if fields.messages ~= nil then
    require("lmm.errors").misuse "a conversation keeps its own messages: params do not hold them"
  end
  fields.system = settings.system
  return session.client():conversation(fields)
end

-- ---- an answer ----------------------------------------------------------------------------------------------------

---@class lmm.nvim.Answer
---@field stream lmm.Stream
---@field log lmm.nvim.Writer   of the split's buffer
---@field target lmm.nvim.Writer|lmm.nvim.Replacement  where it is to go: the same, or elsewhere
---@field waiting lmm.nvim.Waiting
---@field restore_keys fun()
---@field group integer         of autocommands

--- Tells whoever wants to know, such as a status line. Neovim 0.7 hands no data to autocommands.
local function emit(event, data)
  local opts = { pattern = event, modeline = false }
  if vim.fn.has "nvim-0.8" == 1 then opts.data = data end
  api.nvim_exec_autocmds("User", opts) -- which itself tells what a callback raises
end

--- Ends an answer, unless it has ended; `note` says in the split why there is no more.
---@param outcome "done"|"failed"|"cancelled"
local function finish(answer, outcome, note)
  if current ~= answer then return end
  current = nil
  answer.stream:cancel()
  answer.waiting:stop()
  answer.restore_keys()
  api.nvim_del_augroup_by_id(answer.group)
  if note then pcall(answer.log.note, answer.log, note) end -- the split's buffer may not be writable
  if outcome == "done" and answer.target.finish then
    local is_done, why = answer.target:finish()
    if not is_done then notify.info("nothing is replaced: " .. why) end
  end
  answer.log:close()
  answer.target:close()
  emit("LmmEnd", { outcome = outcome, message = note })
end

--- Cancels an answer, unless it has ended. Where that does not show, or comes unasked, it is told.
local function cancel(answer, why)
  if current ~= answer then return end
  finish(answer, "cancelled", "cancelled")
  if why or answer.target ~= answer.log then
    notify.info("the answer is cancelled" .. (why and ": " .. why or ""))
  end
end

--- Makes `<C-c>`, and whatever takes the target's buffer out of sight, cancel the answer.
local function watch(answer, source)
  local target = answer.target.buffer
  answer.group = api.nvim_create_augroup("lmm.answer", {})
  api.nvim_create_autocmd({ "BufWinLeave", "BufUnload" }, { group = answer.group, buffer = target,
    callback = vim.schedule_wrap(function() cancel(answer) end) }) -- meanwhile nothing can be written
  answer.restore_keys = require("lmm.nvim.keys").map({ source, target, answer.log.buffer }, {
    ["<C-c>"] = { fn = function() cancel(answer) end, desc = "Cancel the answer" },
  })
end

local function write(answer, piece)
  if answer.target.finish then answer.waiting:say "receiving" else answer.waiting:stop() end
  if answer.log ~= answer.target then answer.log:write(piece) end -- unless the user has thrown it away
  local is_written, why = answer.target:write(piece)
  if not is_written then cancel(answer, why) end
end

--- Reads an answer in a task.
local function read(answer)
  require("lmm").go(function()
    local piece, message, err
    repeat
      piece, message, err = answer.stream:next()
      if piece and current == answer then write(answer, piece) end
    until not piece
    if message and err.kind ~= "cancelled" then error(message, 0) end
    return message ~= nil
  end, function(ok, problem)
    if ok and problem then return cancel(answer) end -- its client was closed, for one
    if ok then return finish(answer, "done") end
    finish(answer, "failed", "failed: " .. notify.line(problem))
    notify.error(problem)
  end)
end

--- Asks in the conversation. What is asked and answered stands in the split's buffer.
---@param parts any[]      what is asked, the question first
---@param make_target nil|fun(): lmm.nvim.Writer|lmm.nvim.Replacement  makes where the answer goes, if not the split
local function start(parts, make_target)
  local split = require "lmm.nvim.split"
  session.stop()
  session.is_used = true
  chat = chat or new_conversation()
  if chosen then table.insert(parts, { model = chosen }) end
  split.prepare()
  local source = api.nvim_get_current_buf()
  local answer = { stream = chat:stream(unpack(parts)), log = split.writer(parts[1]) }
  if not make_target then split.show() end
  answer.target = make_target and make_target() or answer.log
  answer.waiting = require("lmm.nvim.waiting").start(answer.target.buffer, answer.target.first_row)
  watch(answer, source)
  current = answer
  emit "LmmStart"
  read(answer)
end

local function add_images(parts, paths)
  for _, path in ipairs(paths or {}) do table.insert(parts, require("lmm").image(path)) end
  return parts
end

function session.ask(question, opts)
  opts = opts or {}
  local parts = { question }
  if opts.text then table.insert(parts, table.concat(opts.text, "\n")) end
  start(add_images(parts, opts.images), opts.below and function()
    return require("lmm.nvim.writer").below(opts.below)
  end)
end

local FORM = "Answer with the text that is to stand in the place of the following one, and with nothing else."

--- Asks for what is to stand in the place of a selection.
---@param selected lmm.nvim.Selection
function session.replace(question, selected, images)
  local parts = { question, FORM, table.concat(selected.lines, "\n") }
  start(add_images(parts, images), function() return require("lmm.nvim.replacement").of(selected) end)
end

function session.stop()
  if current then cancel(current) end
end

function session.reset()
  session.stop()
  chat = nil
  require("lmm.nvim.split").clear()
end

function session.show()
  local split = require "lmm.nvim.split"
  split.prepare()
  split.show()
end

-- ---- the model ----------------------------------------------------------------------------------------------------

function session.models(lead)
  local ok, models, message = pcall(function() return session.client():models { timeout = 2, retry = false } end)
  if not (ok and models) then
    notify.error(message or models)
    return {}
  end
  local names = {}
  for _, model in ipairs(models) do
    if vim.startswith(model.id, lead) then names[#names + 1] = model.id end
  end
  return names
end

--- Chooses the model of the questions to come; with "" tells which one it is.
function session.model(name)
  if name ~= "" then
    chosen = name
    return
  end
  session.client() -- which refuses settings that make no sense
  notify.info("the model is " .. (chosen or (settings.params or {}).model or settings.model
    or "the first that the server lists"))
end

return session
