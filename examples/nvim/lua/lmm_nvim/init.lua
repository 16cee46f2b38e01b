--- A plugin over lmm: the words of a command come in; a streamed answer goes into a buffer.
-- luacheck: globals vim unpack
local page = require "lmm_nvim.page"

local M = {}

local settings = {}
local client, chat -- made by the first question
local answer       -- what is under way: { stream, page }

--- Sets what `lmm.connect` takes (`base_url`, `api_key`, `model`, ...), and `system`, the system message.
---@param opts table?
function M.setup(opts)
  if type(opts or {}) ~= "table" then error("lmm_nvim.setup takes a table, not a " .. type(opts), 2) end
  settings = opts or {}
  M.forget()
  client = nil
end

--- What was raised, for the user: where a setting is refused, the line of this file that handed it on is no help, and
--- the editor's own errors go on with a traceback.
---@return string
function M.words(problem)
  return (tostring(problem):match("^[^\n]*"):gsub("^[^\n]-:%d+: lmm: ", "lmm: "))
end

local function tell(problem, level)
  vim.notify(M.words(problem), level or vim.log.levels.ERROR, { title = "lmm" })
end

--- Why the library does not load, and what to do, on one line; nil where it loads.
---@return string?
function M.problem()
  local found, lmm = pcall(require, "lmm")
  if not found then return "module 'lmm' not found: put the folder of the library into 'runtimepath'" end
  for _, name in ipairs { "lmm.core", "lmm.curl" } do
    local loads, why = pcall(require, name)
    if not loads then
      local file = debug.getinfo(lmm.connect, "S").source:sub(2) -- FOLDER/lua/lmm/init.lua
      why = why:match "^(module [^\n]* not found):" or why:gsub("%s+", " ")
      return why .. ": run `make nvim` in " .. vim.fn.fnamemodify(file, ":h:h:h")
    end
  end
end

--- The client, made of the settings. It raises where they are refused, or the library does not load.
---@return lmm.Client
function M.client()
  if client then return client end
  local problem = M.problem()
  if problem then error(problem, 0) end
  local opts = vim.deepcopy(settings)
  opts.system = nil
  client = require("lmm").connect(opts)
  return client
end

-- ---- what goes along ----------------------------------------------------------------------------------------------

local function is_url(path)
  return path:find "^%a[%w+.-]+:" ~= nil
end

--- A path as the file of a buffer sees it: beside that file first, then in the working directory. Where it is in
--- neither, the former is named.
---@return string path, boolean is_there
local function resolve(path)
  if is_url(path) then return path, true end
  local folder, plain = vim.fn.expand "%:p:h", vim.fn.fnamemodify(path, ":p")
  local beside = folder .. "/" .. path
  if path:find "^[/~]" or vim.fn.isdirectory(folder) == 0 then beside = plain end
  if vim.fn.filereadable(beside) == 1 then return beside, true end
  if vim.fn.filereadable(plain) == 1 then return plain, true end
  return beside, false
end

--- What a Markdown link names in its brackets: `(target "title")`, or `<target>`, also with spaces as they are.
local function target_of(inside)
  local target = inside:match "^%(%s*<([^>]+)>" or inside:sub(2, -2):gsub("%s+\".*\"%s*$", ""):gsub("%s+'.*'%s*$", "")
  return vim.trim((target:gsub("%z(.)", function(c) return string.char(c:byte() - 128) end)))
end

--- The file or URL of the Markdown image link under the cursor, if there is one.
local function link_under_cursor()
  local line, column = vim.api.nvim_get_current_line(), vim.api.nvim_win_get_cursor(0)[2] + 1
  line = line:gsub("\\(%p)", function(c) return "\0" .. string.char(c:byte() + 128) end) -- as long, but no bracket
  for first, inside, last in line:gmatch "()!%b[](%b())()" do
    if first <= column and column < last then
      local target = target_of(inside)
      if target == "" then return nil end
      local path, is_there = resolve(target)
      if is_there then return path end
      return resolve((target:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end)))
    end
  end
end

--- Takes the options off the words of a command: "-i path", where "\ " is a space, and "--", which ends them.
---@return string[] paths, string question, boolean is_plain  behind "--"
local function read_options(words)
  local paths, rest = {}, words:gsub("\\ ", "\0")
  repeat
    local path, behind = rest:match "^%s*%-i%s+(%S+)(.*)"
    if path then paths[#paths + 1], rest = path:gsub("%z", " "), behind end
  until not path
  local plain = rest:match "^%s*%-%-%s+(.*)"
  return paths, vim.trim(((plain or rest):gsub("%z", "\\ "))), plain ~= nil
end

--- The question in the words of a command, and what goes along; nil and why where they make no sense.
---@return string? question, string[]|string images
local function read_words(words)
  local example = ": :Lmm -i picture.jpg What is this?"
  local images, question, is_plain = read_options(words)
  if question == "-i" and not is_plain then return nil, "a path is missing behind -i" .. example end
  for i, path in ipairs(images) do
    if path:find "^[\"']" then return nil, "a path stands without quotes, and a space in it is \"\\ \": " .. path end
    images[i] = path:gsub("^<cfile>$", vim.fn.expand):gsub("%$([%w_]+)", vim.env)
  end
  if not is_plain then
    question = question:gsub("%s*<cfile>", function()
      images[#images + 1] = vim.fn.expand "<cfile>"
      return ""
    end)
  end
  if question == "" then return nil, "a question is missing" .. example end
  if #images == 0 then images[1] = link_under_cursor() end
  for i, path in ipairs(images) do images[i] = resolve(path) end
  return question, images
end

-- ---- asking -------------------------------------------------------------------------------------------------------

--- Nothing more comes of an answer; `note` says in the split why.
local function finish(mine, note)
  if answer ~= mine then return end
  answer = nil
  mine.stream:cancel()
  if note then pcall(mine.page.note, mine.page, note) end -- it may not be writable
  mine.page:close()
end

--- Cancels the answer that is under way, if any; the server sees the connection close.
---@param why string?
function M.stop(why)
  local mine = answer
  if not mine then return end
  finish(mine, "cancelled")
  if why or not mine.page.follow then
    tell("lmm: the answer is cancelled" .. (why and ": " .. why or ""), vim.log.levels.INFO)
  end
end

--- Ends the conversation; the next question begins a new one.
function M.forget()
  M.stop()
  chat = nil
  page.clear()
end

--- Reads a stream into a page, in a task: the editor goes on meanwhile.
local function write(stream, target)
  local mine = { stream = stream, page = target }
  answer = mine
  local function stop_mine(why)
    if answer == mine then M.stop(why) end
  end
  target:on_leave(function() stop_mine() end)
  require("lmm").go(function()
    local piece, message, err
    repeat
      piece, message, err = stream:next()
      if piece then
        local is_written, why = target:write(piece)
        if not is_written then stop_mine(why) end
      end
    until not piece
    if message and err.kind ~= "cancelled" then error(message, 0) end
  end, function(ok, problem)
    finish(mine, not ok and "failed: " .. M.words(problem))
    if not ok then tell(problem) end
  end)
end

--- Asks in the conversation and streams the answer.
---@param question string
---@param opts { images: string[]?, text: string[]?, below: integer? }?  below: a line of the buffer, not in the split
function M.ask(question, opts)
  opts = opts or {}
  M.stop()
  chat = chat or M.client():conversation { system = settings.system }
  local parts = { question }
  if opts.text then parts[#parts + 1] = table.concat(opts.text, "\n") end
  for _, path in ipairs(opts.images or {}) do parts[#parts + 1] = require("lmm").image(path) end
  if M.chosen then parts[#parts + 1] = { model = M.chosen } end
  local target = opts.below and page.below(opts.below) or page.in_split { "> " .. question }
  write(chat:stream(unpack(parts)), target)
end

--- The command :Lmm.
function M.command(given)
  local question, images = read_words(given.args)
  if not question then return tell(images) end
  if given.bang and not vim.bo.modifiable then return tell "this buffer cannot be changed: use :Lmm without !" end
  local text = given.range > 0 and vim.api.nvim_buf_get_lines(0, given.line1 - 1, given.line2, false) or nil
  local below = given.bang and given.line2 or nil -- which is the cursor's without a range
  local ok, problem = pcall(M.ask, question, { images = images, text = text, below = below })
  if not ok then tell(problem) end
end

--- The files that begin with `lead`, where a path stands in the command :Lmm.
---@return string[]
function M.complete(lead, line, position)
  local _, before = read_options(line:sub(1, position - #lead):match "Lmm!?%s(.*)" or "")
  if before ~= "-i" then return {} end
  local files = vim.fn.getcompletion(lead:gsub("\\ ", " "), "file")
  return vim.tbl_map(function(path) return (path:gsub(" ", "\\ ")) end, files)
end

-- ---- the model ----------------------------------------------------------------------------------------------------

--- The names of the server's models that begin with `lead`, for the completion of a command. It waits for the server,
--- 2 seconds at most.
---@param lead string
---@return string[]
function M.models(lead)
  local ok, models, message = pcall(function() return M.client():models { timeout = 2, retry = false } end)
  if not (ok and models) then
    tell(message or models)
    return {}
  end
  local names = {}
  for _, model in ipairs(models) do
    if vim.startswith(model.id, lead) then names[#names + 1] = model.id end
  end
  return names
end

--- Chooses the model of the questions to come; with "" tells which one it is.
function M.model(name)
  if name ~= "" then
    M.chosen = name
    return
  end
  local ok, problem = pcall(M.client) -- which refuses a model that is no text
  if not ok then return tell(problem) end
  local current = M.chosen or settings.model or "the first that the server lists"
  tell("lmm: the model is " .. current, vim.log.levels.INFO)
end

return M
