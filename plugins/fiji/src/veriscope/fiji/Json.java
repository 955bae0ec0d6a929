package veriscope.fiji;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads JSON (RFC 8259) into Map, List, String, Double, Boolean and null: ImageJ brings no reader of its own. */
final class Json {
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** The object in `text`. Throws IllegalArgumentException where it is none. */
    @SuppressWarnings("unchecked")
    static Map<String, Object> object(String text) {
        Json reader = new Json(text);
        Object value = reader.value();
        reader.space();
        if (!(value instanceof Map) || reader.at < text.length()) throw new IllegalArgumentException(text);
        return (Map<String, Object>) value;
    }

    private Object value() {
        space();
        switch (peek()) {
            case '{': return map();
            case '[': return list();
            case '"': return string();
            case 't': return word("true", Boolean.TRUE);
            case 'f': return word("false", Boolean.FALSE);
            case 'n': return word("null", null);
            default: return number();
        }
    }

    private Map<String, Object> map() {
        Map<String, Object> found = new LinkedHashMap<>();
        at++;
        space();
        while (peek() != '}') {
            space();
            String name = string();
            space();
            take(':');
            found.put(name, value());
            space();
            if (peek() != '}') take(',');
        }
        at++;
        return found;
    }

    private List<Object> list() {
        List<Object> found = new ArrayList<>();
        at++;
        space();
        while (peek() != ']') {
            found.add(value());
            space();
            if (peek() != ']') take(',');
        }
        at++;
        return found;
    }

    private String string() {
        take('"');
        StringBuilder found = new StringBuilder();
        while (peek() != '"') {
            char sign = text.charAt(at++);
            if (sign != '\\') {
                found.append(sign);
                continue;
            }
            char code = peek();
            at++;
            int known = "\"\\/bfnrt".indexOf(code);
            if (known >= 0) {
                found.append("\"\\/\b\f\n\r\t".charAt(known));
            } else if (code == 'u' && at + 4 <= text.length()) {
                found.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                at += 4;
            } else {
                throw new IllegalArgumentException(text);
            }
        }
        at++;
        return found.toString();
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) throw new IllegalArgumentException(text);
        at += word.length();
        return value;
    }

    private Double number() {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) at++;
        return Double.valueOf(text.substring(start, at));
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private char peek() {
        if (at >= text.length()) throw new IllegalArgumentException(text);
        return text.charAt(at);
    }

    private void take(char sign) {
        if (peek() != sign) throw new IllegalArgumentException(text);
        at++;
    }
}
