--- What a stranger wrote, for a terminal: a text comes in; one that steers nothing goes out, in which each control
--- character is shown as people write it (^[ for escape). Only tabs and line ends stay what they are.
local texts = require "lmm.text"

local safe = {}

local function caret(character)
  local byte = character:byte()
  return "^" .. string.char(byte == 127 and 63 or byte + 64)
end

local function of_c1(character)
  return ("<U+%04X>"):format(character:byte())
end

--- A whole text.
---@param given string
---@return string
function safe.text(given)
  given = texts.utf8(given):gsub("\r\n", "\n")
  return (given:gsub("[%z\1-\8\11-\31\127]", caret):gsub("\194([\128-\159])", of_c1))
end

--- For a text that comes in pieces, which are cut between characters: a function that takes each piece. A carriage
--- return at the end of one waits for the next, since a line end may follow.
---@return fun(piece: string): string
function safe.in_pieces()
  local held = ""
  return function(piece)
    piece = held .. piece
    held = piece:sub(-1) == "\r" and "\r" or ""
    return safe.text(piece:sub(1, #piece - #held))
  end
end

return safe
