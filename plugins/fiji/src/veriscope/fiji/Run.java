package veriscope.fiji;

import ij.IJ;
import ij.ImagePlus;
import ij.Macro;
import ij.macro.Interpreter;
import java.awt.GraphicsEnvironment;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * One command of veriscope: what it reports (docs/events.md) goes to ImageJ's progress bar and status line, and Escape
 * cancels it.
 */
final class Run {
    /** Something to say to the user, in whole sentences. */
    static final class Problem extends Exception {
        private static final long serialVersionUID = 1;

        Problem(String message) {
            super(message);
        }
    }

    /** The user pressed Escape; the message says what is left. */
    static final class Cancelled extends Exception {
        private static final long serialVersionUID = 1;

        Cancelled(String message) {
            super(message);
        }
    }

    private static final int VERSION = 1; // of the events
    private static final long PATIENCE = 60; // seconds for a cancelled command to tidy up
    private static final String END = new String("end"); // an object of its own, compared as such

    /** Paths of what was written, by kind: "mean", "scale", "model" ... */
    final Map<String, File> results = new LinkedHashMap<>();
    /** Names and values, with their titles. */
    final StringBuilder facts = new StringBuilder();
    /** The error to expect and whether the image is like those of the training, in words; empty where not said. */
    String verdict = "";
    /** 0 like the training images, 1 partly unlike, 2 unlike; -1 unknown. */
    int level = -1;
    final List<String> warnings = new ArrayList<>();

    private final String title;
    private final List<String> errors = new ArrayList<>();
    private String stopped = "";
    private boolean ended;

    private Run(String title) {
        this.title = title;
    }

    /**
     * Runs `veriscope --events words...` to its end. Call it on a plugin's thread, never on that of the interface.
     *
     * @param title what is done, for the status line: "Restoring"
     */
    static Run of(String title, List<String> words) throws Problem, Cancelled {
        Run run = new Run(title);
        List<String> command = new ArrayList<>(Arrays.asList(Finder.command().getPath(), "--events"));
        command.addAll(words);
        try {
            run.follow(command);
        } catch (IOException problem) {
            throw new Problem(command.get(0) + " cannot be run (" + problem.getMessage() + "). Choose another in Plugins > "
                + "Veriscope > Veriscope Settings.");
        } finally {
            IJ.showProgress(1);
            IJ.showStatus("");
        }
        return run;
    }

    private void follow(List<String> command) throws IOException, Problem, Cancelled {
        IJ.resetEscape();
        IJ.showStatus(title + ": starting veriscope ...");
        Process process = new ProcessBuilder(command).start();
        BlockingQueue<String> lines = new LinkedBlockingQueue<>();
        StringBuffer complaints = new StringBuffer();
        read(process.getInputStream(), lines, null);
        read(process.getErrorStream(), null, complaints);
        boolean cancelled = false;
        long latest = Long.MAX_VALUE;
        try {
            while (true) {
                if (System.nanoTime() > latest) process.destroyForcibly();
                String line = lines.poll(50, TimeUnit.MILLISECONDS);
                if (line == END) break;
                if (line != null && line.startsWith("{")) hear(Json.object(line));
                if (!cancelled && (IJ.escapePressed() || Thread.currentThread().isInterrupted())) {
                    cancelled = true;
                    latest = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
                    Thread.interrupted();
                    IJ.showStatus(title + ": cancelling ...");
                    process.getOutputStream().close();
                }
            }
            process.waitFor();
        } catch (InterruptedException stop) {
            cancelled = true;
            Thread.currentThread().interrupt();
        } finally {
            process.getOutputStream().close(); // which ends a command that is still running
        }
        if (cancelled || !stopped.isEmpty()) throw new Cancelled(stopped);
        if (!errors.isEmpty()) throw new Problem(String.join("\n\n", errors));
        if (!ended) {
            String said = complaints.toString().trim();
            throw new Problem(command.get(0) + " ended unexpectedly. Check it in a terminal, or choose another in Plugins > "
                + "Veriscope > Veriscope Settings." + (said.isEmpty() ? "" : "\n\nIt reports:\n" + said));
        }
    }

    private static void read(InputStream from, BlockingQueue<String> lines, StringBuffer last) {
        Thread reader = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(from, StandardCharsets.UTF_8))) {
                for (String line = in.readLine(); line != null; line = in.readLine()) {
                    if (lines != null) lines.add(line);
                    if (last == null) continue;
                    last.append(line).append('\n');
                    if (last.length() > 4000) last.delete(0, last.length() - 2000);
                }
            } catch (IOException gone) {
                // The process is: its exit is what counts.
            }
            if (lines != null) lines.add(END);
        }, "veriscope");
        reader.setDaemon(true);
        reader.start();
    }

    private void hear(Map<String, Object> event) throws Problem {
        String text = String.valueOf(event.get("text"));
        switch (String.valueOf(event.get("event"))) {
            case "start":
                if (((Double) event.get("version")).intValue() != VERSION) {
                    throw new Problem("This plugin understands version " + VERSION + " of what veriscope reports, but veriscope "
                        + event.get("veriscope") + " has version " + event.get("version") + ". Update both.");
                }
                break;
            case "progress": progress(event); break;
            case "warning": warnings.add(text); IJ.log(wrapped("Veriscope: " + text)); break;
            case "error": errors.add(event.get("what") + wayOut(event)); break;
            case "stopped": stopped = text; break;
            case "result": results.put((String) event.get("kind"), new File((String) event.get("path"))); break;
            case "verdict":
                verdict = text;
                if (event.get("verdict") instanceof Map) {
                    level = ((Double) ((Map<?, ?>) event.get("verdict")).get("level")).intValue();
                }
                break;
            case "facts": tell(event); break;
            case "end": ended = true; break;
            default: // messages, and what later versions say
        }
    }

    private static String wayOut(Map<String, Object> event) {
        String way = String.valueOf(event.get("way_out"));
        return way.isEmpty() ? "" : "\n" + way;
    }

    private void progress(Map<String, Object> event) {
        if (!(event.get("fraction") instanceof Double)) return;
        double fraction = (Double) event.get("fraction");
        IJ.showProgress(Math.min(fraction, 0.999)); // 1 hides the bar
        StringBuilder said = new StringBuilder(title + ": " + Math.round(100 * fraction) + " %");
        if (event.get("training") instanceof Map) {
            Map<?, ?> step = (Map<?, ?>) event.get("training");
            said.append(String.format(", network %.0f of %.0f", (Double) step.get("member") + 1, step.get("members")));
            if (step.get("check_loss") instanceof Double) said.append(String.format(", check loss %.3f", step.get("check_loss")));
        }
        if (event.get("seconds_left") instanceof Double) said.append(", ").append(duration((Double) event.get("seconds_left"))).append(" left");
        IJ.showStatus(said + " (Escape cancels)");
    }

    static String duration(double seconds) {
        if (seconds < 90) return Math.round(seconds) + " s";
        return seconds < 5400 ? Math.round(seconds / 60) + " min" : String.format("%.1f h", seconds / 3600);
    }

    private void tell(Map<String, Object> event) {
        if (facts.length() > 0) facts.append('\n');
        String heading = String.valueOf(event.get("title"));
        if (!heading.isEmpty()) facts.append(heading).append('\n');
        for (Map.Entry<?, ?> fact : ((Map<?, ?>) event.get("facts")).entrySet()) {
            facts.append("  ").append(fact.getKey()).append(": ").append(fact.getValue()).append('\n');
        }
    }

    /** Says it where the user looks: a dialog, or standard output where there is no interface; a macro ends with it. */
    static void show(String title, Exception problem) {
        boolean cancelled = problem instanceof Cancelled;
        String text = wrapped((cancelled ? title + " was cancelled: " : "") + problem.getMessage());
        if (GraphicsEnvironment.isHeadless()) { // where IJ.error would want a window for the macro
            Batch.problem = text;
            IJ.log(text);
            if (!Batch.calling) Interpreter.abort();
        } else if (cancelled) {
            IJ.showStatus(title + " was cancelled: " + problem.getMessage());
            IJ.log(text);
            Macro.abort();
        } else {
            IJ.error(title, text);
        }
    }

    /** Lines of at most 90 characters, as ImageJ's dialogs do not wrap. */
    static String wrapped(String text) {
        return wrapped(text, 90);
    }

    private static String wrapped(String text, int most) {
        StringBuilder found = new StringBuilder();
        for (String line : text.split("\n", -1)) {
            for (int cut = line.lastIndexOf(' ', most); line.length() > most && cut > 0; cut = line.lastIndexOf(' ', most)) {
                found.append(line, 0, cut).append('\n');
                line = line.substring(cut + 1);
            }
            found.append(line).append('\n');
        }
        return found.toString().trim();
    }

    /** What is known of the restoration, for the info of an image. */
    void describe(ImagePlus image, String words) {
        String before = image.getInfoProperty();
        StringBuilder info = new StringBuilder(before == null || before.isEmpty() ? "" : before.trim() + "\n");
        info.append(wrapped("Veriscope: " + words, 56)).append('\n');
        if (!verdict.isEmpty()) info.append(wrapped("Veriscope verdict: " + verdict, 56)).append('\n');
        for (String warning : warnings) info.append(wrapped("Veriscope warning: " + warning, 56)).append('\n');
        image.setProperty("Info", info.toString());
    }
}
