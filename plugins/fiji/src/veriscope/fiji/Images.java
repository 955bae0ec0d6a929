package veriscope.fiji;

import ij.CompositeImage;
import ij.IJ;
import ij.ImagePlus;
import ij.WindowManager;
import ij.io.FileSaver;
import ij.io.Opener;
import ij.plugin.ContrastEnhancer;
import ij.process.LUT;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * An image that veriscope makes others of. Pixels travel in files: what is open is saved plane by plane, results are
 * opened, from disk where they are larger than the free memory.
 */
final class Images {
    private static final long RESERVE = 64L << 20; // bytes of memory to leave free

    private Images() {}

    /** Runs `veriscope command` with `words` on the chosen image, and shows what is made. */
    static void make(Options options, String title, String doing, List<String> words, String suffix) throws Run.Problem, Run.Cancelled {
        ImagePlus current = options.get("Input").isEmpty() ? WindowManager.getCurrentImage() : null;
        if (current == null && options.get("Input").isEmpty()) {
            throw new Run.Problem("There is no image. Open one, or choose its file as Input.");
        }
        String output = options.get("Output");
        File folder = null;
        boolean keep = false;
        try {
            folder = Files.createTempDirectory("veriscope-").toFile();
            File input = current == null ? new File(options.get("Input")) : save(current, folder);
            String name = name(current == null ? input.getName() : current.getTitle()) + suffix + ".tif";
            List<String> all = new ArrayList<>(words);
            all.add(1, input.getPath());
            all.addAll(Arrays.asList("--out", new File(output.isEmpty() ? folder : new File(output), name).getPath()));
            if (options.ticked("Overwrite")) all.add("--overwrite");
            Run run = Run.of(doing, all);
            keep = show(run, current, title + ", " + String.join(" ", words), output.isEmpty());
        } catch (IOException problem) {
            throw new Run.Problem("There is no place for temporary files (" + problem.getMessage() + ").");
        } finally {
            if (folder != null) remove(folder, keep);
        }
    }

    /** As an ImageJ TIFF in `folder`; `image` stays as it is, and its pixels are not copied. */
    private static File save(ImagePlus image, File folder) throws Run.Problem {
        IJ.showStatus("Veriscope: saving " + image.getTitle() + " ...");
        File file = new File(folder, name(image.getTitle()) + ".tif");
        ImagePlus same = new ImagePlus(image.getTitle(), image.getStack());
        same.setDimensions(image.getNChannels(), image.getNSlices(), image.getNFrames());
        same.setOpenAsHyperStack(image.isHyperStack());
        same.setCalibration(image.getCalibration());
        same.setProperty("Info", image.getInfoProperty());
        if (image.isComposite()) {
            CompositeImage colours = new CompositeImage(same, ((CompositeImage) image).getMode());
            colours.setLuts(image.getLuts());
            same = colours;
        }
        FileSaver saver = new FileSaver(same);
        boolean saved = same.getStackSize() > 1 ? saver.saveAsTiffStack(file.getPath()) : saver.saveAsTiff(file.getPath());
        if (!saved || !file.isFile()) {
            throw new Run.Problem(image.getTitle() + " could not be saved to " + folder + ". Free some space there.");
        }
        return file;
    }

    /** The title of an image without its suffix, and without what file names must not hold. */
    static String name(String title) {
        String bare = title.replaceAll("(?i)(\\.ome)?\\.(tiff?|zarr|nd2|czi|lif)$", "").replaceAll("[^\\p{L}\\p{N}._-]+", "_");
        return bare.isEmpty() || bare.startsWith(".") ? "image" + bare : bare;
    }

    /** Opens all results; whether their files are still needed. */
    private static boolean show(Run run, ImagePlus source, String words, boolean temporary) {
        boolean keep = false;
        for (Map.Entry<String, File> result : run.results.entrySet()) {
            File file = result.getValue();
            if (!file.getName().endsWith(".tif")) continue; // trust.json
            boolean large = file.length() > IJ.maxMemory() - IJ.currentMemory() - RESERVE;
            ImagePlus image = large ? IJ.openVirtual(file.getPath()) : new Opener().openImage(file.getPath());
            if (image == null) {
                IJ.log("Veriscope: ImageJ cannot open " + file + ", which is complete. Open it with File > Import > Bio-Formats.");
                keep = true;
                continue;
            }
            if (temporary && !large) image.setFileInfo(null);
            keep |= large && temporary;
            if (source != null && result.getKey().equals("mean")) colour(image, source);
            run.describe(image, words);
            contrast(image);
            image.show();
        }
        if (!run.verdict.isEmpty()) IJ.showStatus(run.verdict);
        if (run.level > 0) IJ.log(Run.wrapped("Veriscope: " + run.verdict));
        return keep;
    }

    /** The colours that the channels have in `source`, where there are as many. */
    private static void colour(ImagePlus image, ImagePlus source) {
        if (image.getNChannels() != source.getNChannels()) return;
        LUT[] luts = source.getLuts();
        if (image.isComposite()) {
            ((CompositeImage) image).setMode(source.isComposite() ? ((CompositeImage) source).getMode() : IJ.COLOR);
            if (luts.length == image.getNChannels()) ((CompositeImage) image).setLuts(luts);
        } else if (luts.length == 1) {
            image.setLut(luts[0]);
        }
    }

    /** What the middle planes need, channel by channel. */
    private static void contrast(ImagePlus image) {
        for (int channel = image.getNChannels(); channel > 0; channel--) {
            image.setPositionWithoutUpdate(channel, (image.getNSlices() + 1) / 2, 1);
            if (image.isComposite()) image.updateAndDraw();
            new ContrastEnhancer().stretchHistogram(image, 0.35);
        }
    }

    private static void remove(File folder, boolean keep) {
        if (keep) folder.deleteOnExit();
        File[] files = folder.listFiles();
        for (File file : files == null ? new File[0] : files) {
            if (keep) file.deleteOnExit();
            else file.delete();
        }
        if (!keep) folder.delete();
    }
}
