// Two texts come in; the words of each that the other does not have in its place go out.

const MOST_WORDS = 600; // of each: beyond it words are only counted, since what is compared grows as the square

const tokensOf = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
const isWord = (token) => /\S/.test(token);

// Which of the words `a` have a partner in `b`, by the longest common subsequence.
function common(a, b) {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const found = new Array(a.length).fill(false);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) { found[i] = true; i++; j++; }
    else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  }
  return found;
}

function partners(a, b) {
  if (a.length <= MOST_WORDS && b.length <= MOST_WORDS) return common(a, b);
  const known = new Set(b);
  return a.map((word) => known.has(word));
}

// The pieces of a text, [string, isDifferent], against the other texts of its row: a word is different where none of
// them has it in its place.
function differences(text, others) {
  const tokens = tokensOf(text), words = tokens.filter(isWord).map((word) => word.toLowerCase());
  const matched = new Array(words.length).fill(others.length === 0);
  for (const other of others) {
    const theirs = tokensOf(other).filter(isWord).map((word) => word.toLowerCase());
    partners(words, theirs).forEach((has, i) => { matched[i] ||= has; });
  }
  const pieces = [];
  let at = 0, gap = "";
  for (const token of tokens) {
    if (!isWord(token)) { gap += token; continue; }
    const differs = !matched[at++], last = pieces[pieces.length - 1];
    if (last && last[1] === differs) last[0] += gap + token;
    else {
      if (gap) pieces.push([gap, false]);
      pieces.push([token, differs]);
    }
    gap = "";
  }
  return pieces;
}

// The nodes for a text in which what differs is marked.
function markedNodes(text, others) {
  return differences(text, others).map(([piece, differs]) => differs ? element("mark", null, piece) : piece);
}
