--- Advice in the chat's words: that for the shell comes in.
local shell = require "lmm.cli.advice"

local advice = {}

local rows = {
  { ", or, where it was moved, .*%)$", ")" }, -- that would be for the next chat
  { "%-p '?([%w_]+)=([^%s)']+)'?", "/set %1 %2" },
  { " %(%-%-json shows all%)", "" },
  { "%-m NAME", "/model NAME" },
  { "lmm models lists", "/model lists" },
  { "have its tool run by lmm ask .*$", "give its tool by /tool FILE and ask again by /retry, or take the question "
    .. "back by /undo" },
  { "give its tool by %-%-tool", "give its tool by /tool FILE" },
  { "%-%-save writes one", "/save writes one" },
  { "%-%-timeout sets", "/set timeout SECONDS sets" },
  { "send text as text, and the pages of a PDF as pictures, by %-%-page 1%-3", 'paste a text, between """ and """, and '
    .. "/attach pictures of a PDF's pages, as pdftoppm -png draws them" },
  { "looked at: run the command again", "attached" }, -- what is to be done then depends on where it is: see session
  { "give what it holds on the standard input, as %-", "save what it holds in a file, and /attach that" },
  { "download it, and give that file", "download it, and /attach that file" },
  { " ?%(%-a takes any medium, %-i only pictures%)", "" },
}

--- The message for who types in a chat.
---@param message string
---@param err lmm.Error?
---@return string
function advice.of(message, err)
  message = shell.of(message, err)
  if err and not err.hint and err.kind ~= "invalid" then return message end -- a server's own words
  for _, row in ipairs(rows) do message = message:gsub(row[1], row[2]) end
  return message
end

return advice
