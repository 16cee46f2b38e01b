--- Cut a text into pieces of `size` bytes (1 unless told; the last may be shorter), as a network may deliver it.
return function(text, size)
  size = size or 1
  local pieces = {}
  for i = 1, #text, size do pieces[#pieces + 1] = text:sub(i, i + size - 1) end
  return pieces
end
