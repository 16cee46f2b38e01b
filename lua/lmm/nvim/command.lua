--- The commands: what was typed comes in; questions with what goes along with them go out to the session.
-- luacheck: globals vim
local notify = require "lmm.nvim.notify"
local selection = require "lmm.nvim.selection"
local session = require "lmm.nvim.session"

local command = {}

local EXAMPLE = ": :Lmm -i picture.jpg What is this?"

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
  local paths, question = {}, words:gsub("\\ ", "\0")
  repeat
    local path, behind = question:match "^%s*%-i%s+(%S+)(.*)"
    if path then paths[#paths + 1], question = path:gsub("%z", " "), behind end
  until not path
  local plain = question:match "^%s*%-%-%s+(.*)"
  return paths, vim.trim(((plain or question):gsub("%z", "\\ "))), plain ~= nil
end

--- The question in the words of a command, and what goes along; nil and why where they make no sense.
---@return string? question, string[]|string images
local function read_words(words)
  local images, question, is_plain = read_options(words)
  if question == "-i" and not is_plain then return nil, "a path is missing behind -i" .. EXAMPLE end
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
  if question == "" then return nil, "a question is missing" .. EXAMPLE end
  if #images == 0 then images[1] = link_under_cursor() end
  for i, path in ipairs(images) do images[i] = resolve(path) end
  return question, images
end

-- ---- what each command does; `given` is what Neovim hands to a command's function ---------------------------------

local actions = {}

--- The question and the images, or nil where the words made no sense, which is told.
local function question_of(given)
  local question, images = read_words(given.args)
  if not question then notify.error(images) end
  return question, images
end

--- Whether the buffer can be changed; that it cannot is told.
local function is_modifiable(advice)
  if not vim.bo.modifiable then notify.error("this buffer cannot be changed" .. advice) end
  return vim.bo.modifiable
end

function actions.ask(given)
  if given.args == "" and not given.bang then return session.show() end
  local question, images = question_of(given)
  if not question or given.bang and not is_modifiable ": use :Lmm without !" then return end
  local selected = selection.of(given)
  session.ask(question, { images = images, text = selected and selected.lines,
    below = given.bang and math.max(given.line2, 1) or nil }) -- which is the cursor's without a range
end

function actions.replace(given)
  local question, images = question_of(given)
  if not question or not is_modifiable "" then return end
  session.replace(question, selection.of(given) or selection.of_lines(given.line1, given.line2), images)
end

function actions.accept()
  if not require("lmm.nvim.diff").accept() then notify.info "there is nothing to accept" end
end

function actions.reject()
  if not require("lmm.nvim.diff").reject() then notify.info "there is nothing to take back" end
end

function actions.stop() session.stop() end

function actions.reset() session.reset() end

function actions.model(given) session.model(given.args) end

--- Carries a command out; what goes wrong is told.
---@param action string
---@param given table
function command.run(action, given)
  local ok, problem = pcall(actions[action], given)
  if not ok then notify.error(problem) end
end

--- The files that begin with `lead`, where a path stands in a command.
---@return string[]
function command.complete(lead, line, position)
  local _, before = read_options(line:sub(1, position - #lead):match "Lmm%a*!?%s(.*)" or "")
  if before ~= "-i" then return {} end
  local files = vim.fn.getcompletion(lead:gsub("\\ ", " "), "file")
  return vim.tbl_map(function(path) return (path:gsub(" ", "\\ ")) end, files)
end

return command
