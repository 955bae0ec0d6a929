package veriscope.fiji;

import ij.plugin.PlugIn;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Plugins > Veriscope > Veriscope Project: the surface in a stack as a flat image, without a network. */
public final class Project implements PlugIn {
    private static final String TITLE = "Veriscope Project";

    @Override
    public void run(String argument) {
        new Options(TITLE)
            .choice("Method", "", "premosa", "mincost", "sme", "max")
            .file("Input", "empty: the current stack")
            .folder("Output", "empty: only shown")
            .text("Channel", "with the surface, from 1; empty: the first")
            .tick("Height").tick("Overwrite").ask(options -> {
                List<String> words = new ArrayList<>(Arrays.asList("project"));
                words.addAll(options.words("Method", "Height"));
                if (!options.get("Channel").isEmpty()) words.addAll(Arrays.asList("--channel", fromZero(options.get("Channel"))));
                Images.make(options, TITLE, "Projecting", words, "-flat");
            });
    }

    /** ImageJ counts channels from 1, veriscope from 0. */
    private static String fromZero(String channel) throws Run.Problem {
        try {
            return String.valueOf(Integer.parseInt(channel) - 1);
        } catch (NumberFormatException none) {
            throw new Run.Problem("Channel " + channel + " is no number. Give 1 for the first.");
        }
    }
}
