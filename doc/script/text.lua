--- Text for people: words come in, paragraphs of a width go out.
local M = {}

--- Paragraphs of one line each, of words whose lines are wrapped; what is indented keeps its lines.
---@param words string
---@return string[]
function M.paragraphs(words)
  local list, current = {}, nil
  for line in (words .. "\n"):gmatch "(.-)\n" do
    if line:find "^%s*$" then
      current = nil
    elseif line:find "^%s%s" then
      list[#list + 1], current = line, nil
    elseif current then
      list[current] = list[current] .. " " .. line
    else
      list[#list + 1] = line
      current = #list
    end
  end
  return list
end

--- Breaks a paragraph into lines. What stands in backquotes is not broken.
---@param text string
---@param width integer
---@param indent string?  of all lines but the first, which is as wide
---@return string
function M.wrap(text, width, indent)
  indent = indent or ""
  local lines, line = {}, nil
  local glued = text:gsub("`[^`]*`", function(code) return (code:gsub(" ", "\1")) end)
  for word in glued:gmatch "%S+" do
    if line and #line + 1 + #word > width then
      lines[#lines + 1], line = line, nil
    end
    line = line and line .. " " .. word or (#lines > 0 and indent or "") .. word
  end
  lines[#lines + 1] = line
  return (table.concat(lines, "\n"):gsub("\1", " "))
end

return M
